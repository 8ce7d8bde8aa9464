#pragma once

#include "kernels/engram_gate_impl.h"

namespace engram {

// The forms of the gate for one stream whose rows fit a warp's registers, so that each is read once; false, and nothing
// done, for others.
template <class T>
bool run_held(CudaQueue& queue, const EngramGateForward<T>& a);
template <class T>
bool run_held(CudaQueue& queue, const EngramGateBackward<T>& a);

__device__ inline bool is_dead(const View<const uint8_t, 1>& dead, int64_t row) {
  return dead.data != nullptr && dead(row) != 0;
}

}  // namespace engram
