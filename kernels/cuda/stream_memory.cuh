#pragma once

#include "kernels/core/stream.h"
#include "kernels/cuda/check.cuh"

namespace engram {

// Memory of one op for as long as its kernels run: taken and given back in the order of the stream, without waiting.
template <class T>
class StreamMemory {
 public:
  StreamMemory(CudaQueue& queue, int64_t count) : queue_(queue) {
    if (count == 0) return;
    ENGRAM_CUDA_CHECK(cudaMallocAsync(&data_, static_cast<size_t>(count) * sizeof(T), queue.handle));
  }
  ~StreamMemory() {
    if (data_ != nullptr) cudaFreeAsync(data_, queue_.handle);
  }
  StreamMemory(const StreamMemory&) = delete;
  StreamMemory& operator=(const StreamMemory&) = delete;

  T* data() const { return data_; }

 private:
  CudaQueue& queue_;
  T* data_ = nullptr;
};

}  // namespace engram
