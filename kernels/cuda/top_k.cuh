#pragma once

#include "kernels/cuda/reduce.cuh"

namespace engram {

constexpr unsigned kTaken = 0, kNotANumber = 1;  // below the keys of all numbers

// Ascending in the value; kNotANumber for NaN. -0 must not occur.
__device__ inline unsigned key_of(float value) {
  const unsigned bits = __float_as_uint(value);
  if (isnan(value)) return kNotANumber;
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

// Place of the best of the keys that a warp holds, kPerLane on each lane in the order of their places, and marks it as
// taken. Best is the largest, at a tie the first; a NaN is best where it stands first of all that are left, and nowhere
// else. One key at least is not taken.
template <int kPerLane>
__device__ int take_best(unsigned (&keys)[kPerLane], bool any_nan) {
  constexpr unsigned kAll = 0xffffffffu;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  int own = 0;
  unsigned best = keys[0];
#pragma unroll
  for (int j = 1; j < kPerLane; ++j) {
    if (keys[j] > best) {
      best = keys[j];
      own = j;
    }
  }
  const unsigned largest = __reduce_max_sync(kAll, best);
  int winner = __ffs(static_cast<int>(__ballot_sync(kAll, best == largest))) - 1;
  if (any_nan) {
    int first = kPerLane;
#pragma unroll
    for (int j = kPerLane - 1; j >= 0; --j) first = keys[j] != kTaken ? j : first;
    const int lane_of_first = __ffs(static_cast<int>(__ballot_sync(kAll, first < kPerLane))) - 1;
    bool is_nan = false;
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) is_nan = is_nan || (j == first && keys[j] == kNotANumber);
    if ((__ballot_sync(kAll, is_nan) >> lane_of_first) & 1u) {
      winner = lane_of_first;
      own = first;
    }
  }
  own = __shfl_sync(kAll, own, winner);
#pragma unroll
  for (int j = 0; j < kPerLane; ++j) keys[j] = lane == winner && j == own ? kTaken : keys[j];
  return winner * kPerLane + own;
}

}  // namespace engram
