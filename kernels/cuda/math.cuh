#pragma once

#include <type_traits>

#include "kernels/core/dtype.h"

namespace engram {

// 1 / (1 + e^-x); 0 and 1 at the infinities.
template <class T>
__device__ T sigmoid(T x) {
  return 1 / (1 + exp(-x));
}

// For values that are rounded to T anyway: for bfloat16 by the hardware's own exponential and reciprocal, whose
// relative error of a few 2^-23 such rounding hides. 0 instead of less than 2^-126.
template <class T>
__device__ Accumulator<T> exp_for(Accumulator<T> x) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * 1.4426950408889634f));
    return power;
  } else {
    return exp(x);
  }
}
template <class T>
__device__ Accumulator<T> sigmoid_for(Accumulator<T> x) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    return __fdividef(1.0f, 1.0f + __expf(-x));
  } else {
    return sigmoid(x);
  }
}

}  // namespace engram
