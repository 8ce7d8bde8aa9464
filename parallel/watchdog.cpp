#include "parallel/watchdog.h"

#include <algorithm>

#include "kernels/core/check.h"

namespace engram {

Watchdog::Watchdog(WatchdogOptions options) : options_(std::move(options)), thread_([this] { run(); }) {}

Watchdog::~Watchdog() {
  const std::lock_guard lock(mutex_);
  stops_ = true;
  changed_.notify_all();
}

void Watchdog::watch(std::string what, std::function<bool()> is_done) {
  const std::lock_guard lock(mutex_);
  work_.push_back({.what = std::move(what), .is_done = std::move(is_done), .issued = Clock::now()});
}

void Watchdog::check() {
  const std::lock_guard lock(mutex_);
  if (!failure_.empty()) throw PeerFailed(failure_);
}

void Watchdog::run() {
  options_.begin();
  std::unique_lock lock(mutex_);
  const std::chrono::duration<double> pause(options_.poll_seconds);
  while (!changed_.wait_for(lock, pause, [this] { return stops_; })) {
    if (const std::string failure = look(); !failure.empty()) return fail(lock, failure);
  }
}

std::string Watchdog::look() {
  try {
    if (const std::string problem = options_.find_problem(); !problem.empty()) return problem;
    while (!work_.empty() && work_.front().is_done()) {
      work_.pop_front();
      last_done_ = Clock::now();
    }
  } catch (const Error& error) {
    return work_.empty() ? error.what() : work_.front().what + ": " + error.what();
  }
  if (work_.empty()) return "";
  const Work& oldest = work_.front();
  const std::chrono::duration<double> seconds = Clock::now() - std::max(oldest.issued, last_done_);
  if (seconds.count() < options_.timeout_seconds) return "";
  return oldest.what + " has not ended for " + std::to_string(static_cast<int64_t>(seconds.count())) +
         " seconds (parallel.timeout_seconds): a rank has stopped, or the ranks make different calls";
}

void Watchdog::fail(std::unique_lock<std::mutex>& lock, const std::string& failure) {
  failure_ = failure;
  lock.unlock();
  options_.stop_work();
  lock.lock();
  const std::chrono::duration<double> grace(options_.grace_seconds);
  if (changed_.wait_for(lock, grace, [this] { return stops_; })) return;
  lock.unlock();
  options_.end_job(failure);
}

}  // namespace engram
