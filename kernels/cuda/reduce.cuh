#pragma once

namespace engram {

constexpr int kWarpSize = 32;

// The sum over the warp, in a fixed order, on every lane.
template <class T>
__device__ T warp_sum(T value) {
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

// The larger of the two; NaN where either is NaN, so that it reaches whoever looks at the result.
template <class T>
__device__ T larger(T a, T b) {
  return a > b || isnan(a) ? a : b;
}

// The largest value over the warp, on every lane.
template <class T>
__device__ T warp_max(T value) {
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    value = larger(value, __shfl_xor_sync(0xffffffffu, value, offset));
  }
  return value;
}

// The sum over a one-dimensional block of full warps, in a fixed order, on every thread. All threads call it.
template <class T>
__device__ T block_sum(T value) {
  __shared__ T of_warp[kWarpSize];
  value = warp_sum(value);
  __syncthreads();  // whoever read the previous call's values is done
  if (threadIdx.x % kWarpSize == 0) of_warp[threadIdx.x / kWarpSize] = value;
  __syncthreads();
  T sum = 0;
  for (unsigned warp = 0; warp < blockDim.x / kWarpSize; ++warp) sum += of_warp[warp];
  return sum;
}

// The largest value over a one-dimensional block of full warps, on every thread. All threads call it.
template <class T>
__device__ T block_max(T value) {
  __shared__ T of_warp[kWarpSize];
  value = warp_max(value);
  __syncthreads();  // whoever read the previous call's values is done
  if (threadIdx.x % kWarpSize == 0) of_warp[threadIdx.x / kWarpSize] = value;
  __syncthreads();
  T largest = of_warp[0];
  for (unsigned warp = 1; warp < blockDim.x / kWarpSize; ++warp) largest = larger(largest, of_warp[warp]);
  return largest;
}

}  // namespace engram
