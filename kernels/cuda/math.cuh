#pragma once

namespace engram {

// 1 / (1 + e^-x); 0 and 1 at the infinities.
template <class T>
__device__ T sigmoid(T x) {
  return 1 / (1 + exp(-x));
}

}  // namespace engram
