#pragma once

#include <signal.h>

#include <exception>
#include <string>

#include "parallel/communicator.h"

namespace engram {

// What somebody outside asks of a command while it runs; where several do, the last in this list counts.
//
//   kSave     file SAVE in the run's directory   save and go on
//   kPreempt  SIGTERM, SIGUSR2                   save and leave with kExitRequeue
//   kStop     SIGINT, file STOP                  save and leave with kExitOk
enum class Request { kNone, kSave, kPreempt, kStop };

inline bool asks_to_leave(Request request) { return request >= Request::kPreempt; }

// Requests of several ranks in one sum: each adds its weight, and any rank reads the strongest off the total. Exact for
// fewer than 2^20 ranks.
double weight_of(Request request);
Request strongest_in(double sum_of_weights);

// While it lives, the signals above only set a flag, which signalled() returns; a second SIGINT ends the process at
// once, without saving. One per process.
class RequestSignals {
 public:
  RequestSignals();
  ~RequestSignals();
  RequestSignals(const RequestSignals&) = delete;
  RequestSignals& operator=(const RequestSignals&) = delete;

  // For work that has no safe points: signals do what they did before, and so does one that has come already.
  void give_back();

 private:
  static constexpr int kSignals[] = {SIGTERM, SIGUSR2, SIGINT};
  struct sigaction before_[std::size(kSignals)] = {};
  bool installed_ = true;
};

Request signalled();

// Thrown at a safe point, on every rank at the same one, where any rank was asked to leave.
class Interrupted : public std::exception {
 public:
  explicit Interrupted(Request request) : request_(request) {}
  Request request() const { return request_; }
  const char* what() const noexcept override { return "interrupted by a signal"; }

 private:
  Request request_;
};

// The requests to one rank of a run.
class Requests {
 public:
  // Rank 0 also looks for the files SAVE and STOP in `directory`, unless that is "".
  explicit Requests(Communicator& world, std::string directory = "");

  // What this rank was asked. It stays so until fulfilled().
  Request poll() const;
  // A safe point where the ranks have nothing else to sum up. Collective; throws Interrupted.
  void leave_if_asked() const;
  // Removes the file that asked for it.
  void fulfilled(Request request) const;

 private:
  Communicator& world_;
  std::string directory_;
};

}  // namespace engram
