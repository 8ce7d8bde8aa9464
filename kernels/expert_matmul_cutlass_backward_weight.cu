#include "kernels/expert_matmul_cutlass.cuh"

namespace engram {
namespace {

template <int kColumns>
using Gemm = ExpertGemm<cutlass::layout::ColumnMajor, cutlass::layout::RowMajor, float, kColumns>;

}  // namespace

void run_cutlass(CudaQueue& queue, const ExpertMatmulBackwardWeight<bfloat16>& args, ExpertTiles tiles) {
  const int64_t out = args.dweight.size(1), in = args.dweight.size(2);
  multiply_experts<Gemm>(queue, tiles,
                         {.offsets = args.offsets,
                          .a = {args.dy.data, out, 0, out},
                          .b = {args.x.data, in, 0, in},
                          .d = {args.dweight.data, 0, out * in, in},
                          .m = static_cast<int>(out),
                          .n = static_cast<int>(in),
                          .k = ExpertProducts::kRows});
}

}  // namespace engram
