#pragma once

namespace engram {

constexpr int kWarpSize = 32;

// The sum over the warp, in a fixed order, on every lane.
template <class T>
__device__ T warp_sum(T value) {
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

}  // namespace engram
