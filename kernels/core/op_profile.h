#pragma once

#include <initializer_list>
#include <source_location>
#include <string>
#include <vector>

#include "kernels/core/timeline.h"

namespace engram {

// Times every op on the streams that it is attached to: dispatch() brackets each op with two marks. An op that runs
// inside another counts for the outer one alone. On CUDA the time of an op includes what the device waited for its
// launch.
//
//   OpProfile profile;
//   set_profile(stream, &profile);
//   ... ops ...
//   set_profile(stream, nullptr);
//   for (const OpProfile::Line& line : profile.lines()) ...
class OpProfile {
 public:
  struct Line {
    std::string op;
    int64_t calls = 0;
    double seconds = 0;
    double flops = 0;  // of all calls, where the op said so
  };

  // What the next op works on: part of its name from then on, and its floating-point operations.
  void describe(std::string detail, double flops);

  // Lines by op and detail, longest first. Waits for what is queued.
  std::vector<Line> lines() const;
  // From the first op's begin to the last one's end.
  double seconds() const;

  // Brackets an op for as long as it lives; does nothing without a profile.
  template <class Queue>
  class Scope {
   public:
    Scope(const Queue& queue, const char* op, const std::source_location& where)
        : profile_(queue.profile), queue_(queue) {
      if (profile_ != nullptr) profile_->begin(queue, op, where);
    }
    ~Scope() {
      if (profile_ != nullptr) profile_->end(queue_);
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    OpProfile* profile_;
    const Queue& queue_;
  };

 private:
  struct Entry {
    std::string op;
    double flops = 0;
    int64_t begin = 0, end = 0;  // marks
  };
  template <class Queue>
  void begin(const Queue& queue, const char* op, const std::source_location& where);
  template <class Queue>
  void end(const Queue& queue);

  Timeline timeline_;
  std::vector<Entry> entries_;
  int depth_ = 0;
  std::string detail_;
  double flops_ = 0;
};

// From now on the stream's ops are timed by the profile, which must outlive that; nullptr ends it.
void set_profile(Stream& stream, OpProfile* profile);
// nullptr where none is attached.
OpProfile* profile_of(const Stream& stream);
// Tells the stream's profile, where there is one, the sizes of the op that comes next ("64x128x32" after its name) and
// its floating-point operations.
void describe_op(const Stream& stream, std::initializer_list<int64_t> sizes, double flops);

}  // namespace engram
