#include "kernels/cuda/vec.cuh"
#include "kernels/expert_matmul_cutlass.cuh"

namespace engram {
namespace {

template <int kColumns>
using Gemm = ExpertGemm<cutlass::layout::ColumnMajor, cutlass::layout::RowMajor, float, kColumns>;

// After how many rows a sum is cut. A tile of the result is one multiprocessor's, however many rows it sums over: of
// few small experts, or where one has most of the rows, most of the card would be idle. The same on any device, with
// the multiprocessors of an H200: the order of the sums depends on it.
int64_t rows_between_cuts(const ExpertMatmulBackwardWeight<bfloat16>& args, ExpertTiles tiles) {
  constexpr int64_t kProcessors = 132, kTilesEach = 2, kLeastRows = 512;
  const int64_t columns = tiles == ExpertTiles::kWide ? 192 : 128;
  const int64_t num_tiles = int64_t{blocks_for(args.dweight.size(1), 128)} * blocks_for(args.dweight.size(2), columns);
  const int64_t num_parts = std::max<int64_t>(1, kTilesEach * kProcessors / num_tiles);
  return std::max(kLeastRows, (args.x.size(0) + num_parts - 1) / num_parts);
}

// Adds what follows the cuts to each expert's first part, in order: a block of the expert's first cut, one thread a
// chunk of elements.
__global__ void __launch_bounds__(kBlockSize) add_parts_kernel(ExpertProducts products, int64_t num_chunks) {
  constexpr int N = kPerChunk<float>;
  const int64_t i = thread_index(), first = blockIdx.y, stretch = products.stretch;
  const auto part = products.part(products.num_experts() + first);
  if (i >= num_chunks || part.num_rows() == 0 || products.offsets(part.expert) < first * stretch) return;
  const auto* of_cuts = static_cast<const float*>(products.of_cuts) + i * N;
  float* sum = static_cast<float*>(const_cast<void*>(products.d.data)) + (part.expert * num_chunks + i) * N;
  Values<float, N> total = load<float, N>(sum);
  for (int64_t cut = first; (cut + 1) * stretch < products.offsets(part.expert + 1); ++cut) {
    const auto more = load<float, N>(of_cuts + cut * num_chunks * N);
    for (int j = 0; j < N; ++j) total.at[j] += more.at[j];
  }
  store<float, N>(sum, total);
}

}  // namespace

void run_cutlass(CudaQueue& queue, const ExpertMatmulBackwardWeight<bfloat16>& args, ExpertTiles tiles) {
  const int64_t out = args.dweight.size(1), in = args.dweight.size(2), size = out * in;
  const int64_t stretch = rows_between_cuts(args, tiles);
  const int64_t num_cuts = std::max<int64_t>(0, (args.x.size(0) - 1) / stretch);
  int64_t used = 0;
  float* of_cuts = num_cuts == 0 ? nullptr : scratch<float>(queue, num_cuts * size, used);
  const ExpertProducts products{.offsets = args.offsets,
                                .a = {args.dy.data, out, 0, out},
                                .b = {args.x.data, in, 0, in},
                                .d = {args.dweight.data, 0, size, in},
                                .m = static_cast<int>(out),
                                .n = static_cast<int>(in),
                                .k = ExpertProducts::kRows,
                                .num_cuts = num_cuts,
                                .stretch = stretch,
                                .of_cuts = of_cuts};
  if (num_cuts > 0) {
    ENGRAM_CUDA_CHECK(cudaMemsetAsync(of_cuts, 0, sizeof(float) * static_cast<size_t>(num_cuts * size), queue.handle));
  }
  multiply_experts<Gemm>(queue, tiles, products, used);
  if (num_cuts == 0) return;
  const int64_t num_chunks = size / kPerChunk<float>;
  const dim3 blocks(blocks_for(num_chunks, kBlockSize), static_cast<unsigned>(num_cuts));
  add_parts_kernel<<<blocks, kBlockSize, 0, queue.handle>>>(products, num_chunks);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

}  // namespace engram
