#pragma once

#include <memory>

#include "kernels/core/stream.h"

struct CUevent_st;

namespace engram {

// A point in the work of a stream. CPU streams work at once, so their points always lie in the past. An event that was
// never recorded is reached. Each call throws Error where CUDA reports that work failed.
class Event {
 public:
  // Marks all work queued on the stream so far; takes the place of an earlier mark.
  void record(Stream& stream);

  // What is queued on `stream` from now on waits for the mark; the host does not.
  void hold(Stream& stream) const;

  // Blocks the host until the mark is reached.
  void synchronize() const;

  // Whether the mark is reached; never blocks.
  bool is_reached() const;

 private:
  struct Release {
    void operator()(CUevent_st* event) const;
  };
  std::unique_ptr<CUevent_st, Release> handle_;  // made by the first record(), on the card of the calling thread
};

}  // namespace engram
