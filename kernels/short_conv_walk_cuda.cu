#include "kernels/cuda/math.cuh"
#include "kernels/cuda/short_conv_walk.cuh"

namespace engram {
namespace {

using namespace short_conv_walk;

template <class T, int N>
__device__ void walk(const ShortConvForward<T>& a, const int64_t* first, const Stretch& s, const Taps<T, N>& taps,
                     BlockSum<Accumulator<T>>& block_total) {
  using Acc = Accumulator<T>;
  const int64_t seq = a.v.size(1), width = a.v.size(2), channel = int64_t{threadIdx.x} * N;
  const bool inside = channel < width;
  const Acc mean = 1 / Acc(width);
  const int end = min(s.end, s.real_end);
  const int64_t stride = a.dilation * width, start = s.residue + int64_t{s.begin - kHalo} * a.dilation;
  int64_t at = (s.sequence * seq + start) * width + channel, next = at;
  int next_step = s.begin - kHalo;
  const auto fetch = [&] {
    Raw<T, N> raw{};
    if (inside && next_step >= 0 && next_step < end) raw = load_raw<T, N>(a.v.data + next);
    next += stride;
    ++next_step;
    return raw;
  };
  Raw<T, N> ahead[kAhead];
#pragma unroll
  for (int i = 0; i < kAhead; ++i) ahead[i] = fetch();
  Values<T, N> normed[kTaps] = {};
  for (int step = s.begin - kHalo; step < end; ++step, at += stride) {
    const Values<T, N> own = unpack<T, N>(ahead[0]);
#pragma unroll
    for (int i = 0; i + 1 < kAhead; ++i) ahead[i] = ahead[i + 1];
    ahead[kAhead - 1] = fetch();
    const unsigned mask = step < s.begin ? 0u : readable_taps(a, first, s, step);
    Acc square = 0;
    for (int i = 0; i < N; ++i) square += own.at[i] * own.at[i];
    const Acc inv_rms = rsqrt(block_total(square) * mean + a.eps);
    Values<T, N> newest = own;
    for (int i = 0; i < N; ++i) newest.at[i] *= inv_rms;
    shift(normed, newest);
    if (step < s.begin) continue;
    Values<T, N> y = convolve<T, N>(taps, normed, mask);
    for (int i = 0; i < N; ++i) y.at[i] = own.at[i] + y.at[i] * sigmoid_for<T>(y.at[i]);
    if (inside) store<T, N>(a.y.data + at, y);
    if (threadIdx.x == 0) a.inv_rms.data[s.sequence * seq + s.residue + step * a.dilation] = inv_rms;
  }
}

template <class T, int N>
__global__ void __launch_bounds__(kMaxThreads) forward_kernel(ShortConvForward<T> a, const int64_t* first) {
  __shared__ Accumulator<T> places[2][kWarpSize];
  BlockSum<Accumulator<T>> block_total{places};
  const Taps<T, N> taps(a);
  for_each_stretch(a, [&](const Stretch& s) { walk(a, first, s, taps, block_total); });
}

template <class T>
bool walk_forward(CudaQueue& queue, const ShortConvForward<T>& a, const int64_t* first) {
  constexpr int N = kPerChunk<T>;
  if (!fits<N>(a, a.v.data, a.y.data)) return false;
  const unsigned num_blocks = blocks_at_once<N>(forward_kernel<T, N>, a);
  forward_kernel<T, N><<<num_blocks, threads_for<N>(a.v.size(2)), 0, queue.handle>>>(a, first);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
  return true;
}

}  // namespace

bool run_walk(CudaQueue& queue, const ShortConvForward<bfloat16>& a, const int64_t* first) {
  return walk_forward(queue, a, first);
}
bool run_walk(CudaQueue& queue, const ShortConvForward<float>& a, const int64_t* first) {
  return walk_forward(queue, a, first);
}

}  // namespace engram
