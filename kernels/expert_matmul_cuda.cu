#include <cstdint>

#include "kernels/cuda/check.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/resources.cuh"
#include "kernels/cuda/tile_product.cuh"
#include "kernels/expert_matmul_cutlass.h"

namespace engram {
namespace {

// The expert and first row of a tile of rows, when every expert's rows are cut into tiles of their own.
struct RowTile {
  int64_t expert;
  int64_t begin;
  int64_t end;  // of the tile; 0 where there are fewer tiles
};

__device__ RowTile find_row_tile(const View<const int64_t, 1>& offsets, int64_t tile) {
  for (int64_t expert = 0; expert + 1 < offsets.size(0); ++expert) {
    const int64_t begin = offsets(expert), end = offsets(expert + 1);
    const int64_t num_tiles = (end - begin + kTileRows - 1) / kTileRows;
    if (tile < num_tiles) return {expert, begin + tile * kTileRows, min(begin + (tile + 1) * kTileRows, end)};
    tile -= num_tiles;
  }
  return {0, 0, 0};
}

// No more tiles than this exist for `num_rows` rows, wherever the offsets are.
int64_t most_row_tiles(int64_t num_rows, const View<const int64_t, 1>& offsets) {
  return (num_rows + kTileRows - 1) / kTileRows + offsets.size(0) - 1;
}

// Block (x, y): row tile x of all experts, column tile y.
template <class T>
__global__ void __launch_bounds__(kTileThreads) forward_kernel(ExpertMatmulForward<T> a) {
  const RowTile tile = find_row_tile(a.offsets, blockIdx.x);
  if (tile.end == 0) return;
  const int64_t out = a.weight.size(1), in = a.weight.size(2), column = int64_t{blockIdx.y} * kTileColumns;
  T* y = a.y.row(tile.begin) + column;
  tile_product<true, true>(TileProduct<T>{.a = a.x.row(tile.begin),
                                          .a_stride = in,
                                          .b = a.weight.row(tile.expert) + column * in,
                                          .b_stride = in,
                                          .num_rows = tile.end - tile.begin,
                                          .num_columns = out - column,
                                          .depth = in},
                           [&](int row, int c, Accumulator<T> value) { y[row * out + c] = T(value); });
}

template <class T>
__global__ void __launch_bounds__(kTileThreads) backward_input_kernel(ExpertMatmulBackwardInput<T> a) {
  const RowTile tile = find_row_tile(a.offsets, blockIdx.x);
  if (tile.end == 0) return;
  const int64_t out = a.weight.size(1), in = a.weight.size(2), column = int64_t{blockIdx.y} * kTileColumns;
  T* dx = a.dx.row(tile.begin) + column;
  tile_product<true, false>(TileProduct<T>{.a = a.dy.row(tile.begin),
                                           .a_stride = out,
                                           .b = a.weight.row(tile.expert) + column,
                                           .b_stride = in,
                                           .num_rows = tile.end - tile.begin,
                                           .num_columns = in - column,
                                           .depth = out},
                            [&](int row, int c, Accumulator<T> value) { dx[row * in + c] = T(value); });
}

// Block (x, y, z): input tile x, output tile y, expert z; the depth is the rows of the expert.
template <class T>
__global__ void __launch_bounds__(kTileThreads) backward_weight_kernel(ExpertMatmulBackwardWeight<T> a) {
  const int64_t expert = blockIdx.z, begin = a.offsets(expert), depth = a.offsets(expert + 1) - begin;
  if (depth == 0) return;
  const int64_t out = a.dweight.size(1), in = a.dweight.size(2);
  const int64_t row = int64_t{blockIdx.y} * kTileRows, column = int64_t{blockIdx.x} * kTileColumns;
  Accumulator<T>* dweight = a.dweight.row(expert) + row * in + column;
  tile_product<false, false>(TileProduct<T>{.a = a.dy.row(begin) + row,
                                            .a_stride = out,
                                            .b = a.x.row(begin) + column,
                                            .b_stride = in,
                                            .num_rows = out - row,
                                            .num_columns = in - column,
                                            .depth = depth},
                             [&](int r, int c, Accumulator<T> value) { dweight[r * in + c] += value; });
}

#if ENGRAM_WITH_CUTLASS
template <class T, int Rank>
bool aligned(const View<T, Rank>& matrix) {
  return reinterpret_cast<uintptr_t>(matrix.data) % 16 == 0 && matrix.size(Rank - 1) % 8 == 0;
}
bool serves(const ExpertMatmulForward<bfloat16>& a) { return aligned(a.x) && aligned(a.weight) && aligned(a.y); }
bool serves(const ExpertMatmulBackwardInput<bfloat16>& a) {
  return aligned(a.dy) && aligned(a.weight) && aligned(a.dx);
}
bool serves(const ExpertMatmulBackwardWeight<bfloat16>& a) {
  return aligned(a.dy) && aligned(a.x) && aligned(a.dweight);
}

// Wide tiles are a tenth faster where the last column of tiles is full.
ExpertTiles tiles_for(int64_t width) {
  const auto padded = [&](int64_t columns) { return (width + columns - 1) / columns * columns; };
  return 9 * padded(192) <= 10 * padded(128) ? ExpertTiles::kWide : ExpertTiles::kNarrow;
}
ExpertTiles tiles_of(const ExpertMatmulForward<bfloat16>& a) { return tiles_for(a.y.size(1)); }
ExpertTiles tiles_of(const ExpertMatmulBackwardInput<bfloat16>& a) { return tiles_for(a.dx.size(1)); }
// Where experts have few tiles and differ in rows, smaller ones let multiprocessors end at the same time.
ExpertTiles tiles_of(const ExpertMatmulBackwardWeight<bfloat16>& a) {
  const int64_t out = a.dweight.size(1), in = a.dweight.size(2);
  return out * in < (int64_t{1} << 20) ? ExpertTiles::kNarrow : tiles_for(in);
}
#endif

// Runs the products by CUTLASS and returns true where it is there and serves the card, the type and the matrices.
template <class Args>
bool ran_cutlass(CudaQueue& queue, const Args& args) {
#if ENGRAM_WITH_CUTLASS
  if constexpr (requires { run_cutlass(queue, args, ExpertTiles::kWide); }) {
    const CudaResources& resources = *queue.resources;
    if (!resources.use_library_kernels || resources.compute_capability != 9 || !serves(args)) return false;
    run_cutlass(queue, args, tiles_of(args));
    return true;
  }
#endif
  (void)queue, (void)args;
  return false;
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const ExpertMatmulForward<T>& a) {
  if (a.y.numel() == 0) return;
  if (ran_cutlass(queue, a)) return;
  const dim3 blocks(blocks_for(most_row_tiles(a.y.size(0), a.offsets), 1), blocks_for(a.y.size(1), kTileColumns));
  forward_kernel<T><<<blocks, kTileThreads, 0, queue.handle>>>(a);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

template <class T>
void run(CudaQueue& queue, const ExpertMatmulBackwardInput<T>& a) {
  if (a.dx.numel() == 0) return;
  if (ran_cutlass(queue, a)) return;
  const dim3 blocks(blocks_for(most_row_tiles(a.dx.size(0), a.offsets), 1), blocks_for(a.dx.size(1), kTileColumns));
  backward_input_kernel<T><<<blocks, kTileThreads, 0, queue.handle>>>(a);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

template <class T>
void run(CudaQueue& queue, const ExpertMatmulBackwardWeight<T>& a) {
  if (a.dweight.numel() == 0) return;
  if (ran_cutlass(queue, a)) return;
  const dim3 blocks(blocks_for(a.dweight.size(2), kTileColumns), blocks_for(a.dweight.size(1), kTileRows),
                    blocks_for(a.dweight.size(0), 1));
  backward_weight_kernel<T><<<blocks, kTileThreads, 0, queue.handle>>>(a);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

template void run(CudaQueue&, const ExpertMatmulForward<bfloat16>&);
template void run(CudaQueue&, const ExpertMatmulForward<float>&);
template void run(CudaQueue&, const ExpertMatmulBackwardInput<bfloat16>&);
template void run(CudaQueue&, const ExpertMatmulBackwardInput<float>&);
template void run(CudaQueue&, const ExpertMatmulBackwardWeight<bfloat16>&);
template void run(CudaQueue&, const ExpertMatmulBackwardWeight<float>&);

}  // namespace engram
