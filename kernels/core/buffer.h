#pragma once

#include <memory>

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// Owns device or host memory, aligned to 256 bytes and not initialised. Throws Error where there is none left.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Device device, int64_t num_bytes);

  // Host memory that CUDA reads and writes while the host goes on; ordinary host memory in a build without CUDA.
  static Buffer pinned(int64_t num_bytes);

  // A tensor over the first bytes of the buffer; throws Error where it does not fit.
  Tensor tensor(DType dtype, std::initializer_list<int64_t> shape) const;

  void* data() const { return memory_.get(); }
  int64_t num_bytes() const { return num_bytes_; }

 private:
  struct Release {
    Device device;
    bool is_pinned;
    void operator()(void* memory) const;
  };
  std::unique_ptr<void, Release> memory_;
  int64_t num_bytes_ = 0;
};

}  // namespace engram
