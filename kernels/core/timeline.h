#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "kernels/core/stream.h"

struct CUevent_st;

namespace engram {

// Marks on streams, and the time between them: on CUDA as the device reaches them, on the CPU as the host does.
class Timeline {
 public:
  Timeline() = default;
  ~Timeline();
  Timeline(const Timeline&) = delete;
  Timeline& operator=(const Timeline&) = delete;

  // Puts a mark after the work that is queued, without waiting; returns its number, from 0.
  int64_t mark(Stream& stream);
  int64_t mark(const CpuQueue& queue);
  int64_t mark(const CudaQueue& queue);

  // From one mark to a later one of the same device; waits until the later one is reached.
  double seconds(int64_t first, int64_t last) const;

  int64_t num_marks() const { return static_cast<int64_t>(marks_.size()); }
  void clear() { marks_.clear(); }  // the next mark is number 0 again

 private:
  struct Mark {
    std::chrono::steady_clock::time_point time;
    CUevent_st* event = nullptr;  // on CUDA
  };
  std::vector<Mark> marks_;
  std::vector<CUevent_st*> events_;  // all that were made, used again after clear()
};

}  // namespace engram
