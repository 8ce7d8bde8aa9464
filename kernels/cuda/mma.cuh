#pragma once

#include <cstdint>

#include "kernels/core/dtype.h"
#include "kernels/cuda/reduce.cuh"

// Matrix products of one warp on tensor cores (PTX mma.m16n8k16 and ldmatrix, sm_80 and later). A float fragment of 16
// rows by 8 columns has 4 elements a lane: element e lies in row lane / 4 + 8 * (e / 2), column 2 * (lane % 4) + e % 2.
namespace engram {

__device__ inline int lane_index() { return static_cast<int>(threadIdx.x) % kWarpSize; }

// Two floats as bfloat16, the first in the low half.
__device__ inline uint32_t pack(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

// d += a b for a [16, 16], row after row, and b [16, 8], column after column.
__device__ inline void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b_low, uint32_t b_high) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b_low), "r"(b_high));
}

// Four 8 x 8 matrices from shared memory; lane 8 m + r gives the address of row r of matrix m, aligned to 16 bytes.
__device__ inline void load_matrices(uint32_t (&to)[4], const bfloat16* row) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}
// The same, each matrix transposed.
__device__ inline void load_transposed(uint32_t (&to)[4], const bfloat16* row) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}

// scores[n] += rows of a times rows of b: a [16, kDim] and b [8 * kScores, kDim] in shared memory, kStride elements a
// row.
template <int kDim, int kStride, int kScores>
__device__ void dot_rows(const bfloat16* a, const bfloat16* b, float (&scores)[kScores][4]) {
  const int lane = lane_index();
  const bfloat16* a_row = a + lane % 16 * kStride + lane / 16 * 8;
  const bfloat16* b_row = b + (lane % 8 + lane / 16 * 8) * kStride + lane / 8 % 2 * 8;
#pragma unroll
  for (int k = 0; k < kDim; k += 16) {
    uint32_t left[4], right[4];
    load_matrices(left, a_row + k);
#pragma unroll
    for (int n = 0; n < kScores; n += 2) {
      load_matrices(right, b_row + 8 * n * kStride + k);
      mma(scores[n], left, right[0], right[1]);
      mma(scores[n + 1], left, right[2], right[3]);
    }
  }
}

// sums[c] += weights x: weights [16, 8 * kScores] as dot_rows leaves them, x [8 * kScores, 8 * kColumns] in shared
// memory.
template <int kStride, int kScores, int kColumns>
__device__ void mix_rows(const float (&weights)[kScores][4], const bfloat16* x, float (&sums)[kColumns][4]) {
  const int lane = lane_index();
  const bfloat16* x_row = x + lane % 16 * kStride + lane / 16 * 8;
#pragma unroll
  for (int n = 0; n < kScores; n += 2) {
    const uint32_t left[4] = {pack(weights[n][0], weights[n][1]), pack(weights[n][2], weights[n][3]),
                              pack(weights[n + 1][0], weights[n + 1][1]), pack(weights[n + 1][2], weights[n + 1][3])};
    uint32_t right[4];
#pragma unroll
    for (int c = 0; c < kColumns; c += 2) {
      load_transposed(right, x_row + 8 * n * kStride + 8 * c);
      mma(sums[c], left, right[0], right[1]);
      mma(sums[c + 1], left, right[2], right[3]);
    }
  }
}

// Over the four lanes that hold one row of a fragment; on each of them.
__device__ inline float quad_sum(float value) {
  value += __shfl_xor_sync(0xffffffffu, value, 1);
  return value + __shfl_xor_sync(0xffffffffu, value, 2);
}
__device__ inline float quad_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 1));
  return fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 2));
}

}  // namespace engram
