#include "kernels/expert_matmul_cutlass.cuh"

namespace engram {
namespace {

template <int kColumns>
using Gemm = ExpertGemm<cutlass::layout::RowMajor, cutlass::layout::RowMajor, cutlass::bfloat16_t, kColumns>;

}  // namespace

void run_cutlass(CudaQueue& queue, const ExpertMatmulBackwardInput<bfloat16>& args, ExpertTiles tiles) {
  const int64_t out = args.weight.size(1), in = args.weight.size(2);
  multiply_experts<Gemm>(queue, tiles,
                         {.offsets = args.offsets,
                          .a = {args.dy.data, out, 0, out},
                          .b = {args.weight.data, 0, out * in, in},
                          .d = {args.dx.data, in, 0, in},
                          .m = ExpertProducts::kRows,
                          .n = static_cast<int>(in),
                          .k = static_cast<int>(out)});
}

}  // namespace engram
