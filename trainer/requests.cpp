#include "trainer/requests.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <utility>

namespace engram {
namespace {

constexpr double kRanks = 1 << 20;  // more than there are
constexpr const char* kSaveFile = "/SAVE";
constexpr const char* kStopFile = "/STOP";

std::atomic<int> last_signal{0};  // a signal handler can reach nothing else
static_assert(std::atomic<int>::is_always_lock_free);

void remember(int signal) {
  int none = 0;
  if (signal != SIGINT)
    last_signal.compare_exchange_strong(none, signal);
  else if (last_signal.exchange(signal) == SIGINT)
    ::_exit(128 + SIGINT);
}

}  // namespace

double weight_of(Request request) {
  switch (request) {
    case Request::kNone:
      return 0;
    case Request::kSave:
      return 1;
    case Request::kPreempt:
      return kRanks;
    case Request::kStop:
      return kRanks * kRanks;
  }
  return 0;
}

Request strongest_in(double sum_of_weights) {
  for (const Request request : {Request::kStop, Request::kPreempt, Request::kSave}) {
    if (sum_of_weights >= weight_of(request)) return request;
  }
  return Request::kNone;
}

RequestSignals::RequestSignals() {
  last_signal = 0;
  struct sigaction action = {};
  action.sa_handler = remember;
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < std::size(kSignals); ++i) ::sigaction(kSignals[i], &action, &before_[i]);
}

RequestSignals::~RequestSignals() {
  if (!installed_) return;
  for (size_t i = 0; i < std::size(kSignals); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
}

void RequestSignals::give_back() {
  for (size_t i = 0; i < std::size(kSignals); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
  installed_ = false;
  if (last_signal != 0) ::raise(last_signal);
}

Request signalled() {
  const int signal = last_signal;
  if (signal == 0) return Request::kNone;
  return signal == SIGINT ? Request::kStop : Request::kPreempt;
}

Requests::Requests(Communicator& world, std::string directory) : world_(world), directory_(std::move(directory)) {}

Request Requests::poll() const {
  Request request = signalled();
  if (world_.rank() != 0 || directory_.empty()) return request;
  if (::access((directory_ + kSaveFile).c_str(), F_OK) == 0) request = std::max(request, Request::kSave);
  if (::access((directory_ + kStopFile).c_str(), F_OK) == 0) request = std::max(request, Request::kStop);
  return request;
}

void Requests::leave_if_asked() const {
  double sum = weight_of(poll());
  all_reduce_sum<double>(world_, std::span(&sum, 1));
  if (const Request request = strongest_in(sum); asks_to_leave(request)) throw Interrupted(request);
}

void Requests::fulfilled(Request request) const {
  if (world_.rank() != 0 || directory_.empty()) return;
  if (request == Request::kSave) ::unlink((directory_ + kSaveFile).c_str());
  if (request == Request::kStop) ::unlink((directory_ + kStopFile).c_str());
}

}  // namespace engram
