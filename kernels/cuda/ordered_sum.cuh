#pragma once

#include <cuda_pipeline.h>

#include <cstdint>

#include "kernels/cuda/launch.cuh"

namespace engram {

// Terms of a sum that are on their way to one thread at once, and those that it waits for together.
template <class Acc>
inline constexpr int kTermsAhead = 192 / static_cast<int>(sizeof(Acc));
template <class Acc>
inline constexpr int kTermsAtOnce = kTermsAhead<Acc> / 3;

// Calls fn(k) for each k of kTermsAtOnce for which term `first` + k is there.
template <class Acc, class Fn>
__device__ void for_terms_at_once(int first, int count, Fn&& fn) {
  if (first + kTermsAtOnce<Acc> <= count) {
#pragma unroll
    for (int k = 0; k < kTermsAtOnce<Acc>; ++k) fn(k);
  } else {
#pragma unroll 1
    for (int k = 0; first + k < count; ++k) fn(k);
  }
}

// sum + from[0] + from[stride] + ... + from[(count - 1) * stride], added in this order by one thread. The terms come by
// way of shared memory, since so many on their way in registers would leave room for few threads: `ring` is this
// thread's, with kTermsAhead places, each kBlockSize from the one before. No thread waits for another.
template <class Acc>
__device__ Acc sum_in_order(Acc sum, const Acc* from, int64_t stride, int count, Acc* ring) {
  constexpr int kAhead = kTermsAhead<Acc>, kAtOnce = kTermsAtOnce<Acc>;
  const auto fetch = [&](int first, Acc* to) {
    const Acc* term = from + first * stride;
    for_terms_at_once<Acc>(
        first, count, [&](int k) { __pipeline_memcpy_async(to + k * kBlockSize, term + k * stride, sizeof(Acc)); });
    __pipeline_commit();
  };
#pragma unroll 1
  for (int first = 0; first < kAhead; first += kAtOnce) fetch(first, ring + first * kBlockSize);
#pragma unroll 1
  for (int first = 0; first < count; first += kAtOnce) {
    Acc* terms = ring + first % kAhead * kBlockSize;
    __pipeline_wait_prior(kAhead / kAtOnce - 1);
    for_terms_at_once<Acc>(first, count, [&](int k) { sum += terms[k * kBlockSize]; });
    fetch(first + kAhead, terms);
  }
  return sum;
}

}  // namespace engram
