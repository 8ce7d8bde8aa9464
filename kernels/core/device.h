#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

bool built_with_cuda();

// Number of CUDA devices that this process sees; 0 in a build without CUDA.
int num_cuda_devices();

// kHigh: its kernels go first where kernels of several streams wait for room; for short work that others wait for.
enum class StreamPriority : uint8_t { kNormal, kHigh };

// A stream on the device. On CUDA `index` chooses the card, which becomes the current one of the calling thread.
Stream make_stream(Device device, int index = 0, StreamPriority priority = StreamPriority::kNormal);

// Whether ops on the stream may use libraries that have a built-in stand-in (CUTLASS, cuDNN), as they do at first. Off
// for tests of the stand-ins and to find out which of the two is at fault. Changes nothing on the CPU.
void use_library_kernels(Stream& stream, bool use);

// Whether sums have a fixed order, as they have at first, so that equal inputs give equal bits. Off, attention's
// backward pass by cuDNN adds its query gradients in the order in which they are ready, which is faster. Changes
// nothing on the CPU.
void set_deterministic(Stream& stream, bool deterministic);

// Waits until all work queued on the stream is done, and throws Error if any of it failed.
void synchronize(Stream& stream);

// Copies from's bytes to `to`, between any two memories; sizes must match. Asynchronous on CUDA.
void copy(Stream& stream, const Tensor& from, const Tensor& to);

// Sets every byte to 0.
void zero(Stream& stream, const Tensor& tensor);

}  // namespace engram
