#pragma once

#include "kernels/attention_impl.h"

namespace engram {

// The forms of attention on tensor cores: bfloat16, heads of at most 128 channels and a multiple of 8, aligned to 16
// bytes. Each returns false, and has done nothing, where the arguments are others. delta as in attention_backward.
bool forward_on_tensor_cores(CudaQueue& queue, const AttentionForward<bfloat16>& a);
bool backward_on_tensor_cores(CudaQueue& queue, const AttentionBackward<bfloat16>& a, const View<float, 3>& delta);
inline bool forward_on_tensor_cores(CudaQueue&, const AttentionForward<float>&) { return false; }
inline bool backward_on_tensor_cores(CudaQueue&, const AttentionBackward<float>&, const View<float, 3>&) {
  return false;
}

}  // namespace engram
