#pragma once

#include "kernels/core/dtype.h"
#include "kernels/expert_matmul_impl.h"

namespace engram {

// Tiles of the result: 128 x 128 or 128 x 192.
enum class ExpertTiles { kNarrow, kWide };

// The products of expert_matmul.h by CUTLASS, on Hopper. Every matrix must be aligned to 16 bytes, and both sides of
// the weights be multiples of 8.
void run_cutlass(CudaQueue& queue, const ExpertMatmulForward<bfloat16>& args, ExpertTiles tiles);
void run_cutlass(CudaQueue& queue, const ExpertMatmulBackwardInput<bfloat16>& args, ExpertTiles tiles);
void run_cutlass(CudaQueue& queue, const ExpertMatmulBackwardWeight<bfloat16>& args, ExpertTiles tiles);

}  // namespace engram
