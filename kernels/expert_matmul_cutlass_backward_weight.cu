#include "kernels/expert_matmul_cutlass.cuh"

namespace engram {
namespace {

template <int kColumns>
using Gemm = ExpertGemm<cutlass::layout::ColumnMajor, cutlass::layout::RowMajor, float, kColumns>;

// Into how many parts each expert's rows are cut. A tile of the result is one multiprocessor's, however many rows it
// sums over: few small experts would leave most of the card idle.
int64_t num_parts(const CudaResources& card, const ExpertMatmulBackwardWeight<bfloat16>& args, ExpertTiles tiles) {
  constexpr int64_t kTilesEach = 2, kLeastRows = 512, kMostParts = 16;
  const int64_t columns = tiles == ExpertTiles::kWide ? 192 : 128, num_experts = args.dweight.size(0);
  const int64_t num_tiles =
      num_experts * blocks_for(args.dweight.size(1), 128) * blocks_for(args.dweight.size(2), columns);
  const int64_t wanted = kTilesEach * card.num_multiprocessors / num_tiles;
  const int64_t most = std::min(args.x.size(0) / num_experts / kLeastRows, kMostParts);
  return std::max<int64_t>(1, std::min(wanted, most));
}

struct Parts {
  const float* others;  // [num_others, size]
  int64_t num_others, size;
  float* sum;  // [size], to which the others are added in their order
};

// One thread an element.
__global__ void __launch_bounds__(kBlockSize) add_parts_kernel(Parts parts) {
  const int64_t i = thread_index();
  if (i >= parts.size) return;
  float value = parts.sum[i];
  for (int64_t part = 0; part < parts.num_others; ++part) value += parts.others[part * parts.size + i];
  parts.sum[i] = value;
}

}  // namespace

void run_cutlass(CudaQueue& queue, const ExpertMatmulBackwardWeight<bfloat16>& args, ExpertTiles tiles) {
  const int64_t out = args.dweight.size(1), in = args.dweight.size(2), size = args.dweight.numel();
  const int64_t parts = num_parts(*queue.resources, args, tiles), num_others = parts - 1;
  int64_t used = 0;
  float* others = num_others == 0 ? nullptr : scratch<float>(queue, num_others * size, used);
  if (num_others > 0) {
    ENGRAM_CUDA_CHECK(cudaMemsetAsync(others, 0, sizeof(float) * static_cast<size_t>(num_others * size), queue.handle));
  }
  multiply_experts<Gemm>(queue, tiles,
                         {.offsets = args.offsets,
                          .a = {args.dy.data, out, 0, out},
                          .b = {args.x.data, in, 0, in},
                          .d = {args.dweight.data, 0, out * in, in},
                          .m = static_cast<int>(out),
                          .n = static_cast<int>(in),
                          .k = ExpertProducts::kRows,
                          .parts = parts,
                          .others = others},
                         used);
  if (num_others > 0) launch_each(queue, add_parts_kernel, size, Parts{others, num_others, size, args.dweight.data});
}

}  // namespace engram
