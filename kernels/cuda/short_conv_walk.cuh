#pragma once

#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vec.cuh"
#include "kernels/short_conv_impl.h"

// The positions of a sequence that are `dilation` apart form a class: a position's taps read it and its three
// predecessors in the class. A block walks along a stretch of a class, each of its threads with N channels, and keeps
// what later steps need in registers.
namespace engram {

// The forms of the convolution for four taps and one stream, which read each position once; false, and nothing done,
// where they do not fit. first: see short_conv_cuda.cu; `used` bytes of the workspace are taken.
bool run_walk(CudaQueue& queue, const ShortConvForward<bfloat16>& a, const int64_t* first);
bool run_walk(CudaQueue& queue, const ShortConvForward<float>& a, const int64_t* first);
bool run_walk(CudaQueue& queue, const ShortConvBackward<bfloat16>& a, const int64_t* first, int64_t used);
bool run_walk(CudaQueue& queue, const ShortConvBackward<float>& a, const int64_t* first, int64_t used);
inline bool run_walk(CudaQueue&, const ShortConvForward<double>&, const int64_t*) { return false; }
inline bool run_walk(CudaQueue&, const ShortConvBackward<double>&, const int64_t*, int64_t) { return false; }

namespace short_conv_walk {

constexpr int kTaps = 4;
constexpr int kHalo = kTaps - 1;  // steps between a position and the first that its taps read
constexpr int kAhead = 2;         // steps whose data are on their way
constexpr int kMaxThreads = 512;
constexpr unsigned kAllTaps = (1u << kTaps) - 1;

// Steps [begin, end) of one class, of which those before `real_end` have a position.
struct Stretch {
  int64_t sequence;
  int residue, begin, end, real_end;
};

// Calls body(stretch) for the block's share of all steps of all classes, which is the same for all blocks.
template <class Args, class Body>
__device__ void for_each_stretch(const Args& a, Body&& body) {
  const int64_t seq = a.v.size(1), steps = (seq + a.dilation - 1) / a.dilation,
                total = a.v.size(0) * a.dilation * steps;
  const int64_t end = total * (int64_t{blockIdx.x} + 1) / gridDim.x;
  for (int64_t at = total * blockIdx.x / gridDim.x; at < end;) {
    const int64_t number = at / steps, begin = at % steps, count = min(end - at, steps - begin);
    const int64_t residue = number % a.dilation, real_end = seq <= residue ? 0 : (seq - residue - 1) / a.dilation + 1;
    body(Stretch{number / a.dilation, static_cast<int>(residue), static_cast<int>(begin),
                 static_cast<int>(begin + count), static_cast<int>(real_end)});
    at += count;
  }
}

// weight * gain of the thread's channels, by tap.
template <class T, int N>
struct Taps {
  Accumulator<T> at[kTaps][N] = {};

  template <class Args>
  __device__ explicit Taps(const Args& a) {
    using Acc = Accumulator<T>;
    const int64_t channel = int64_t{threadIdx.x} * N;
    if (channel >= a.v.size(2)) return;
#pragma unroll
    for (int j = 0; j < kTaps; ++j) {
#pragma unroll
      for (int i = 0; i < N; ++i) at[j][i] = Acc(a.weight(channel + i, j)) * Acc(a.gain.data[channel + i]);
    }
  }
};

// Bit j: tap j of the step's position reads inside the position's segment.
template <class Args>
__device__ unsigned readable_taps(const Args& a, const int64_t* first, const Stretch& s, int step) {
  if (first == nullptr) return step >= kHalo ? kAllTaps : kAllTaps << (kHalo - step) & kAllTaps;
  const int dilation = static_cast<int>(a.dilation), t = s.residue + step * dilation;
  const int begin = static_cast<int>(first[s.sequence * a.v.size(1) + t]);
  unsigned mask = 0;
#pragma unroll
  for (int j = 0; j < kTaps; ++j) mask |= t - (kHalo - j) * dilation >= begin ? 1u << j : 0u;
  return mask;
}

template <class Value>
__device__ void shift(Value (&values)[kTaps], const Value& newest) {
#pragma unroll
  for (int j = 0; j < kHalo; ++j) values[j] = values[j + 1];
  values[kHalo] = newest;
}

template <class T, int N>
__device__ Values<T, N> convolve(const Taps<T, N>& taps, const Values<T, N> (&normed)[kTaps], unsigned mask) {
  Values<T, N> sum{};
#pragma unroll
  for (int j = 0; j < kTaps; ++j) {
    if ((mask >> j & 1u) == 0) continue;
#pragma unroll
    for (int i = 0; i < N; ++i) sum.at[i] += taps.at[j][i] * normed[j].at[i];
  }
  return sum;
}

// Sums over the block, one barrier each: the places of two successive sums lie apart, and whoever writes a place for
// the next sum but one has met all who read it at the barrier in between.
template <class Acc>
struct BlockSum {
  Acc (*places)[kWarpSize];  // [2][kWarpSize], shared
  int parity = 0;

  __device__ Acc operator()(Acc value) {
    value = warp_sum(value);
    Acc* of_warp = places[parity];
    parity ^= 1;
    if (threadIdx.x % kWarpSize == 0) of_warp[threadIdx.x / kWarpSize] = value;
    __syncthreads();
    Acc sum = 0;
    for (unsigned warp = 0; warp < blockDim.x / kWarpSize; ++warp) sum += of_warp[warp];
    return sum;
  }
};

template <int N>
unsigned threads_for(int64_t width) {
  return blocks_for(width / N, kWarpSize) * kWarpSize;
}

template <int N, class Args, class... Arrays>
bool fits(const Args& a, const Arrays*... arrays) {
  constexpr int64_t kMostSteps = int64_t{1} << 30;
  return a.gain.size(0) == 1 && a.weight.size(1) == kTaps && a.v.size(2) % N == 0 && a.v.size(2) <= N * kMaxThreads &&
         a.v.numel() > 0 && a.v.size(1) * kTaps + a.dilation * kTaps < kMostSteps && in_chunks(0, arrays...);
}

// As many blocks as the device runs at once, but no more than there are positions.
template <int N, class Kernel, class Args>
unsigned blocks_at_once(Kernel kernel, const Args& a) {
  int device = 0, processors = 0, per_processor = 0;
  ENGRAM_CUDA_CHECK(cudaGetDevice(&device));
  ENGRAM_CUDA_CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device));
  ENGRAM_CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_processor, kernel,
                                                                  static_cast<int>(threads_for<N>(a.v.size(2))), 0));
  return static_cast<unsigned>(std::min<int64_t>(int64_t{processors} * per_processor, a.v.size(0) * a.v.size(1)));
}

}  // namespace short_conv_walk
}  // namespace engram
