#pragma once

#include "kernels/attention_impl.h"

namespace engram {

// Attention by cuDNN: bfloat16, heads of at most 128 channels and a multiple of 8, aligned to 16 bytes, sequences of
// more than one token. Each returns false, and has done nothing, where the arguments are others, cuDNN is missing or
// has no kernel for them, or the stream is to do without libraries.
#if ENGRAM_WITH_CUDNN
bool forward_by_cudnn(CudaQueue& queue, const AttentionForward<bfloat16>& a);
bool backward_by_cudnn(CudaQueue& queue, const AttentionBackward<bfloat16>& a);
#else
inline bool forward_by_cudnn(CudaQueue&, const AttentionForward<bfloat16>&) { return false; }
inline bool backward_by_cudnn(CudaQueue&, const AttentionBackward<bfloat16>&) { return false; }
#endif
inline bool forward_by_cudnn(CudaQueue&, const AttentionForward<float>&) { return false; }
inline bool backward_by_cudnn(CudaQueue&, const AttentionBackward<float>&) { return false; }

}  // namespace engram
