#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/resources.cuh"
#include "kernels/heads.h"

// Tiles of queries and keys in shared memory, as floats, and the two products that attention needs of them.
namespace engram {

// A block is a square of threads. Thread (ty, tx) owns rows ty * kRows + i of a result and its columns tx + kSide * j.
constexpr int kSide = 16;
constexpr int kTileThreads = kSide * kSide;

__device__ inline int thread_row() { return static_cast<int>(threadIdx.x) / kSide; }
__device__ inline int thread_column() { return static_cast<int>(threadIdx.x) % kSide; }

// Tiles of kTile positions by kDim channels, and score tiles of kTile by kTile; one float more a row, so that a column
// lies in different banks.
template <int kPositions, int kChannels>
struct TileShape {
  static constexpr int kTile = kPositions, kDim = kChannels, kThreads = kTileThreads;
  static constexpr int kRows = kTile / kSide, kColumns = kDim / kSide;
  static constexpr int kStride = kDim + 1, kScoreStride = kTile + 1;
  static constexpr int kTileFloats = kTile * kStride, kScoreFloats = kTile * kScoreStride;

  using Scores = float[kRows][kRows];
  using Sums = float[kRows][kColumns];
};

// One head of one sequence: position i starts at data + i * stride.
template <class T>
struct HeadView {
  T* data;
  int64_t stride;
  int64_t seq;
  int64_t dim;
};

template <class T>
__device__ HeadView<T> head_of(const Heads<T>& x, int64_t batch, int64_t head) {
  return {x.at(batch * x.size(1), head), x.stride, x.size(1), x.size(3)};
}

// Which tile of which head of which sequence a block works on, from its number.
struct Place {
  int64_t begin;  // first position of the tile
  int64_t head;
  int64_t batch;
};

template <class Shape>
__device__ Place place_of(int64_t seq, int64_t heads) {
  const int64_t num_tiles = (seq + Shape::kTile - 1) / Shape::kTile, head = blockIdx.x / num_tiles;
  return {blockIdx.x % num_tiles * Shape::kTile, head % heads, head / heads};
}

// Positions [begin, begin + kTile) of a head; 0 past its end and past its channels.
template <class Shape, class T>
__device__ void load_tile(const HeadView<const T>& from, int64_t begin, float* tile) {
  for (int e = static_cast<int>(threadIdx.x); e < Shape::kTile * Shape::kDim; e += kTileThreads) {
    const int row = e / Shape::kDim, c = e % Shape::kDim;
    const bool inside = begin + row < from.seq && c < from.dim;
    tile[row * Shape::kStride + c] = inside ? float(from.data[(begin + row) * from.stride + c]) : 0.0f;
  }
}

// What load_tile read, the other way: this thread's share of the tile.
template <class Shape, class T>
__device__ void store_tile(const typename Shape::Sums& sums, int64_t begin, const HeadView<T>& to) {
#pragma unroll
  for (int i = 0; i < Shape::kRows; ++i) {
    const int64_t row = begin + thread_row() * Shape::kRows + i;
#pragma unroll
    for (int j = 0; j < Shape::kColumns; ++j) {
      const int64_t c = thread_column() + kSide * j;
      if (row < to.seq && c < to.dim) to.data[row * to.stride + c] = T(sums[i][j]);
    }
  }
}

// products[i][j] = dot(row of a, row of b), for this thread's rows of a and, as columns, rows of b.
template <class Shape>
__device__ void dot_rows(const float* a, const float* b, typename Shape::Scores& products) {
#pragma unroll
  for (int i = 0; i < Shape::kRows; ++i) {
#pragma unroll
    for (int j = 0; j < Shape::kRows; ++j) products[i][j] = 0;
  }
#pragma unroll 8
  for (int c = 0; c < Shape::kDim; ++c) {
    float left[Shape::kRows], right[Shape::kRows];
#pragma unroll
    for (int i = 0; i < Shape::kRows; ++i) {
      left[i] = a[(thread_row() * Shape::kRows + i) * Shape::kStride + c];
      right[i] = b[(thread_column() + kSide * i) * Shape::kStride + c];
    }
#pragma unroll
    for (int i = 0; i < Shape::kRows; ++i) {
#pragma unroll
      for (int j = 0; j < Shape::kRows; ++j) products[i][j] += left[i] * right[j];
    }
  }
}

// sums[i][j] += sum over the positions k of weights[row, k] * x[k, column], for this thread's rows and columns.
template <class Shape>
__device__ void mix_rows(const float* weights, const float* x, typename Shape::Sums& sums) {
#pragma unroll 8
  for (int k = 0; k < Shape::kTile; ++k) {
    float weight[Shape::kRows];
#pragma unroll
    for (int i = 0; i < Shape::kRows; ++i) {
      weight[i] = weights[(thread_row() * Shape::kRows + i) * Shape::kScoreStride + k];
    }
#pragma unroll
    for (int j = 0; j < Shape::kColumns; ++j) {
      const float value = x[k * Shape::kStride + thread_column() + kSide * j];
#pragma unroll
      for (int i = 0; i < Shape::kRows; ++i) sums[i][j] += weight[i] * value;
    }
  }
}

// Where this thread's score (i, j) lies in a score tile.
template <class Shape>
__device__ int score_at(int i, int j) {
  return (thread_row() * Shape::kRows + i) * Shape::kScoreStride + thread_column() + kSide * j;
}

// Over the kSide threads that own the same rows: neighbours in a warp. On each of them.
__device__ inline float row_sum(float value) {
  for (int offset = kSide / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}
__device__ inline float row_max(float value) {
  for (int offset = kSide / 2; offset > 0; offset /= 2)
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
  return value;
}

// One block for each tile of x's positions, each head and each sequence, with this much shared memory.
template <class Shape, class T, class... Args>
void launch_tiles(CudaQueue& queue, const Heads<T>& x, int num_bytes, void (*kernel)(Args...), const Args&... args) {
  const int64_t num_blocks = x.size(0) * x.size(2) * blocks_for(x.size(1), Shape::kTile);
  if (num_blocks == 0) return;
  int limit = 0;
  ENGRAM_CUDA_CHECK(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, queue.resources->device));
  ENGRAM_CHECK(num_bytes <= limit, "attention: heads of ", x.size(3), " channels in ",
               sizeof(T) == 2 ? "bfloat16" : "float32", " need ", num_bytes,
               " bytes of shared memory, this device has ", limit, " for a block; wanted bfloat16 or ",
               "heads of at most 64 channels");
  ENGRAM_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, num_bytes));
  kernel<<<blocks_for(num_blocks, 1), Shape::kThreads, num_bytes, queue.handle>>>(args...);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

}  // namespace engram
