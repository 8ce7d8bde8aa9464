#pragma once

#include "kernels/core/buffer.h"

namespace engram {

// Memory for a tensor whose size changes from step to step: kept between uses, and replaced only by more.
class ReusedBuffer {
 public:
  // An uninitialised tensor; ends the life of the one taken before. The data is never nullptr, also at size 0.
  Tensor take(Device device, DType dtype, std::initializer_list<int64_t> shape) {
    return take_from(dtype, shape, [&](int64_t num_bytes) { return Buffer(device, num_bytes); });
  }
  // The same in host memory that streams of the device copy to and from while the host goes on.
  Tensor take_host(Device device, DType dtype, std::initializer_list<int64_t> shape) {
    return take_from(dtype, shape, [&](int64_t num_bytes) {
      return device == Device::kCuda ? Buffer::pinned(num_bytes) : Buffer(Device::kCpu, num_bytes);
    });
  }
  int64_t num_bytes() const { return buffer_.num_bytes(); }

 private:
  template <class Make>
  Tensor take_from(DType dtype, std::initializer_list<int64_t> shape, Make&& make) {
    const int64_t num_bytes = Tensor(nullptr, dtype, shape).num_bytes();
    if (num_bytes > buffer_.num_bytes() || buffer_.data() == nullptr) {
      buffer_ = Buffer();  // first give back, then ask: the two need not fit side by side
      buffer_ = make(num_bytes + num_bytes / 4 + 1);
    }
    return buffer_.tensor(dtype, shape);
  }

  Buffer buffer_;
};

}  // namespace engram
