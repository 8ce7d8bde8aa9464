#include "kernels/core/timeline.h"

#include "kernels/core/check.h"

#if ENGRAM_WITH_CUDA
#include "kernels/cuda/check.cuh"
#endif

namespace engram {

Timeline::~Timeline() {
#if ENGRAM_WITH_CUDA
  for (CUevent_st* event : events_) cudaEventDestroy(event);
#endif
}

int64_t Timeline::mark(Stream& stream) {
  return std::visit(
      [&](const auto& queue) -> int64_t {
        if constexpr (std::is_same_v<decltype(queue), const DryQueue&>) {
          return mark(CpuQueue{});
        } else {
          return mark(queue);
        }
      },
      stream);
}

int64_t Timeline::mark(const CpuQueue&) {
  marks_.push_back({.time = std::chrono::steady_clock::now(), .event = nullptr});
  return num_marks() - 1;
}

int64_t Timeline::mark([[maybe_unused]] const CudaQueue& queue) {
#if ENGRAM_WITH_CUDA
  if (events_.size() == marks_.size()) {
    CUevent_st* event = nullptr;
    ENGRAM_CUDA_CHECK(cudaEventCreate(&event));
    events_.push_back(event);
  }
  CUevent_st* event = events_[marks_.size()];
  ENGRAM_CUDA_CHECK(cudaEventRecord(event, queue.handle));
  marks_.push_back({.time = {}, .event = event});
#endif
  return num_marks() - 1;
}

double Timeline::seconds(int64_t first, int64_t last) const {
  const Mark& begin = marks_.at(static_cast<size_t>(first));
  const Mark& end = marks_.at(static_cast<size_t>(last));
#if ENGRAM_WITH_CUDA
  if (end.event != nullptr) {
    float milliseconds = 0;
    ENGRAM_CUDA_CHECK(cudaEventSynchronize(end.event));
    ENGRAM_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin.event, end.event));
    return double{milliseconds} * 1e-3;
  }
#endif
  return std::chrono::duration<double>(end.time - begin.time).count();
}

}  // namespace engram
