#pragma once

#include <mma.h>

#include <type_traits>

#include "kernels/core/dtype.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vec.cuh"

// A block's tile of a matrix product with ragged edges: the core of expert_matmul.
namespace engram {

constexpr int kTileRows = 128;
constexpr int kTileColumns = 128;
constexpr int kTileDepth = 32;  // step of the sum
constexpr int kTileThreads = 256;

// c[row, column] = sum over d < depth of A(row, d) * B(column, d) for row < num_rows and column < num_columns, as far
// as the tile reaches. An operand "along depth" has element (i, d) at i * stride + d, otherwise at d * stride + i.
template <class T>
struct TileProduct {
  const T* a;
  int64_t a_stride;
  const T* b;
  int64_t b_stride;
  int64_t num_rows;
  int64_t num_columns;
  int64_t depth;
};

// An operand's part in shared memory, laid out as in global memory and padded by 16 bytes a line.
template <class T, bool kAlongDepth>
struct TileStage {
  static constexpr int kLines = kAlongDepth ? kTileRows : kTileDepth;
  static constexpr int kLineSize = kAlongDepth ? kTileDepth : kTileRows;
  static constexpr int kChunk = sizeof(Chunk) / sizeof(T);
  static constexpr int kStride = kLineSize + kChunk;
  static constexpr int kBytes = kLines * kStride * int{sizeof(T)};

  // Element i across and d deep.
  __device__ static const T* at(const T* stage, int i, int d) {
    return kAlongDepth ? stage + i * kStride + d : stage + d * kStride + i;
  }

  // Copies one step of the operand; zeros past its edges. All threads of the block call it.
  __device__ static void fill(const T* from, int64_t stride, int64_t num_across, int64_t num_deep, T* stage) {
    const int64_t num_lines = kAlongDepth ? num_across : num_deep, line_size = kAlongDepth ? num_deep : num_across;
    constexpr int kLineChunks = kLineSize / kChunk;
    for (int i = static_cast<int>(threadIdx.x); i < kLines * kLineChunks; i += kTileThreads) {
      const int line = i / kLineChunks, at = i % kLineChunks * kChunk;
      const T* source = from + line * stride + at;
      T* target = stage + line * kStride + at;
      const bool whole = line < num_lines && at + kChunk <= line_size;
      if (whole && reinterpret_cast<uintptr_t>(source) % sizeof(Chunk) == 0) {
        *reinterpret_cast<Chunk*>(target) = *reinterpret_cast<const Chunk*>(source);
        continue;
      }
      for (int e = 0; e < kChunk; ++e) {
        target[e] = line < num_lines && at + e < line_size ? source[e] : T(Accumulator<T>(0));
      }
    }
  }
};
static_assert(kTileRows == kTileColumns, "both operands use one kind of stage");

// Fused multiply-add: each thread has every 16th row and column of the tile.
template <class T, bool kAAlongDepth, bool kBAlongDepth>
struct TileSum {
  static constexpr int kSide = 16, kEach = kTileRows / kSide;
  static constexpr int kStoreBytes = 0;
  using A = TileStage<T, kAAlongDepth>;
  using B = TileStage<T, kBAlongDepth>;
  Accumulator<T> sum[kEach][kEach] = {};

  __device__ void add(const T* a, const T* b) {
    const int row = static_cast<int>(threadIdx.x) / kSide, column = static_cast<int>(threadIdx.x) % kSide;
    for (int d = 0; d < kTileDepth; ++d) {
      T left[kEach], right[kEach];
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        left[i] = *A::at(a, row + i * kSide, d);
        right[i] = *B::at(b, column + i * kSide, d);
      }
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
#pragma unroll
        for (int j = 0; j < kEach; ++j) sum[i][j] += left[i] * right[j];
      }
    }
  }

  template <class Body>
  __device__ void for_each(void*, Body&& body) {
    const int row = static_cast<int>(threadIdx.x) / kSide, column = static_cast<int>(threadIdx.x) % kSide;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
#pragma unroll
      for (int j = 0; j < kEach; ++j) body(row + i * kSide, column + j * kSide, sum[i][j]);
    }
  }
};

// Tensor cores: each of 2 x 4 warps has 64 rows and 32 columns, in fragments of 16 x 16.
template <bool kAAlongDepth, bool kBAlongDepth>
struct TileSum<bfloat16, kAAlongDepth, kBAlongDepth> {
  static constexpr int kSize = 16, kDown = 4, kAcross = 2;
  static constexpr int kStoreStride = kSize + 4;  // of a fragment on its way out, one a warp
  static constexpr int kWarpStore = kSize * kStoreStride;
  static constexpr int kStoreBytes = kTileThreads / kWarpSize * kWarpStore * int{sizeof(float)};
  using A = TileStage<bfloat16, kAAlongDepth>;
  using B = TileStage<bfloat16, kBAlongDepth>;
  template <bool kRowMajor>
  using Major = std::conditional_t<kRowMajor, nvcuda::wmma::row_major, nvcuda::wmma::col_major>;
  using FragmentA =
      nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, kSize, kSize, kSize, __nv_bfloat16, Major<kAAlongDepth>>;
  using FragmentB =
      nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, kSize, kSize, kSize, __nv_bfloat16, Major<!kBAlongDepth>>;
  using Sum = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, kSize, kSize, kSize, float>;
  Sum sum[kDown][kAcross];

  __device__ TileSum() {
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
#pragma unroll
      for (int j = 0; j < kAcross; ++j) nvcuda::wmma::fill_fragment(sum[i][j], 0.0f);
    }
  }
  __device__ static int warp() { return static_cast<int>(threadIdx.x) / kWarpSize; }
  __device__ static int first_row() { return warp() / 4 * kDown * kSize; }
  __device__ static int first_column() { return warp() % 4 * kAcross * kSize; }

  __device__ void add(const bfloat16* a, const bfloat16* b) {
#pragma unroll
    for (int d = 0; d < kTileDepth; d += kSize) {
      FragmentA left[kDown];
      FragmentB right[kAcross];
#pragma unroll
      for (int i = 0; i < kDown; ++i) {
        const bfloat16* from = A::at(a, first_row() + i * kSize, d);
        nvcuda::wmma::load_matrix_sync(left[i], reinterpret_cast<const __nv_bfloat16*>(from), A::kStride);
      }
#pragma unroll
      for (int j = 0; j < kAcross; ++j) {
        const bfloat16* from = B::at(b, first_column() + j * kSize, d);
        nvcuda::wmma::load_matrix_sync(right[j], reinterpret_cast<const __nv_bfloat16*>(from), B::kStride);
      }
#pragma unroll
      for (int i = 0; i < kDown; ++i) {
#pragma unroll
        for (int j = 0; j < kAcross; ++j) nvcuda::wmma::mma_sync(sum[i][j], left[i], right[j], sum[i][j]);
      }
    }
  }

  // memory: kStoreBytes of shared memory.
  template <class Body>
  __device__ void for_each(void* memory, Body&& body) {
    float* store = static_cast<float*>(memory) + warp() * kWarpStore;
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
#pragma unroll
      for (int j = 0; j < kAcross; ++j) {
        nvcuda::wmma::store_matrix_sync(store, sum[i][j], kStoreStride, nvcuda::wmma::mem_row_major);
        __syncwarp();
        for (int e = lane; e < kSize * kSize; e += kWarpSize) {
          const int row = e / kSize, column = e % kSize;
          body(first_row() + i * kSize + row, first_column() + j * kSize + column, store[row * kStoreStride + column]);
        }
        __syncwarp();
      }
    }
  }
};

// Calls store(row, column, value) for every element of the tile inside the product. All kTileThreads threads of the
// block call it, once.
template <bool kAAlongDepth, bool kBAlongDepth, class T, class Store>
__device__ void tile_product(const TileProduct<T>& p, Store&& store) {
  using A = TileStage<T, kAAlongDepth>;
  using B = TileStage<T, kBAlongDepth>;
  using Sum = TileSum<T, kAAlongDepth, kBAlongDepth>;
  alignas(128) __shared__ unsigned char memory[A::kBytes + B::kBytes + Sum::kStoreBytes];
  T *a = reinterpret_cast<T*>(memory), *b = reinterpret_cast<T*>(memory + A::kBytes);
  Sum sum;
  for (int64_t d = 0; d < p.depth; d += kTileDepth) {
    __syncthreads();  // the previous step is summed
    A::fill(p.a + (kAAlongDepth ? d : d * p.a_stride), p.a_stride, p.num_rows, p.depth - d, a);
    B::fill(p.b + (kBAlongDepth ? d : d * p.b_stride), p.b_stride, p.num_columns, p.depth - d, b);
    __syncthreads();
    sum.add(a, b);
  }
  sum.for_each(memory + A::kBytes + B::kBytes, [&](int row, int column, Accumulator<T> value) {
    if (row < p.num_rows && column < p.num_columns) store(row, column, value);
  });
}

}  // namespace engram
