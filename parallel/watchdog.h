#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace engram {

// What a Watchdog needs to know; every function is called on its thread.
struct WatchdogOptions {
  double timeout_seconds = 600;  // of one piece of work, counted from when it was issued and those before it were done
  double grace_seconds = 10;     // from a failure to end_job(), for the thread that waits to end the job in good order
  double poll_seconds = 0.05;
  std::function<void()> begin = [] {};                                       // before all else
  std::function<std::string()> find_problem = [] { return std::string(); };  // asked again and again: "" is well
  std::function<void()> stop_work = [] {};                                   // after a failure: frees who waits for it
  std::function<void(const std::string&)> end_job;                           // must not return
};

// Watches work that runs elsewhere and may never end because a peer is gone. What it finds is thrown by check(), on the
// thread that issued the work; where that thread does not come, the watchdog ends the job itself.
class Watchdog {
 public:
  explicit Watchdog(WatchdogOptions options);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // Watches one piece of work, which runs after those given before. is_done() is asked on the watchdog's thread; what
  // it throws is a failure.
  void watch(std::string what, std::function<bool()> is_done);

  // Throws PeerFailed with what was found, if anything was.
  void check();

 private:
  using Clock = std::chrono::steady_clock;
  struct Work {
    std::string what;
    std::function<bool()> is_done;
    Clock::time_point issued;
  };

  void run();
  // What is wrong now, or "".
  std::string look();
  void fail(std::unique_lock<std::mutex>& lock, const std::string& failure);

  WatchdogOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> work_;
  Clock::time_point last_done_ = Clock::now();
  std::string failure_;
  bool stops_ = false;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace engram
