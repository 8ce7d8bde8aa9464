#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/resources.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/short_conv_walk.cuh"

namespace engram {
namespace {

constexpr int kThreads = 256;

// Positions are numbered through all sequences: position = batch * seq + t. first[position] is the t at which its
// segment begins, as far back as the taps reach; nullptr where there are no segments.

// `reach`: distance of the first tap.
__global__ void __launch_bounds__(kThreads) first_kernel(View<const uint8_t, 2> starts, int64_t reach, int64_t* first) {
  const int64_t position = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (position >= starts.numel()) return;
  const int64_t t = position % starts.size(1), earliest = t > reach ? t - reach : 0;
  int64_t begin = t;
  while (begin > earliest && starts.data[position - t + begin] == 0) --begin;
  first[position] = begin;
}

// v * inv_rms at a position: the normed input without its gain.
template <class Acc, class Args>
__device__ Acc scaled(const Args& a, int64_t position, int64_t channel) {
  const int64_t streams = a.gain.size(0), width = a.gain.size(1);
  return Acc(a.v.data[position * a.v.size(2) + channel]) * a.inv_rms.data[position * streams + channel / width];
}

// The convolved value o of a position.
template <class Acc, class Args>
__device__ Acc convolved(const Args& a, const int64_t* first, int64_t position, int64_t channel) {
  const int64_t taps = a.weight.size(1), t = position % a.v.size(1), begin = first == nullptr ? 0 : first[position];
  Acc sum = 0;
  for (int64_t j = 0; j < taps; ++j) {
    const int64_t distance = (taps - 1 - j) * a.dilation;
    if (t - distance >= begin) sum += Acc(a.weight(channel, j)) * scaled<Acc>(a, position - distance, channel);
  }
  return sum * Acc(a.gain.data[channel]);
}

// Gradient of the convolved value of a position.
template <class T>
__device__ Accumulator<T> dconvolved(const ShortConvBackward<T>& a, const int64_t* first, int64_t position,
                                     int64_t channel) {
  using Acc = Accumulator<T>;
  const Acc o = convolved<Acc>(a, first, position, channel), s = sigmoid(o);
  return Acc(a.dy.data[position * a.v.size(2) + channel]) * s * (1 + o * (1 - s));
}

// Gradient of the normed input of a position, from the later positions that read it.
template <class T>
__device__ Accumulator<T> dnormed(const ShortConvBackward<T>& a, const int64_t* first, int64_t position,
                                  int64_t channel) {
  using Acc = Accumulator<T>;
  const int64_t taps = a.weight.size(1), seq = a.v.size(1), t = position % seq;
  Acc sum = 0;
  for (int64_t j = 0; j < taps; ++j) {
    const int64_t distance = (taps - 1 - j) * a.dilation, later = position + distance;
    if (t + distance >= seq || (first != nullptr && first[later] > t)) continue;
    sum += Acc(a.weight(channel, j)) * dconvolved(a, first, later, channel);
  }
  return sum;
}

// One warp a stream of a position, here and in dv_kernel.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) inv_rms_kernel(ShortConvForward<T> a) {
  using Acc = Accumulator<T>;
  const int64_t row = warp_row(), width = a.gain.size(1);
  if (row >= a.inv_rms.numel()) return;
  const T* v = a.v.data + row * width;
  Acc sum = 0;
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) sum += Acc(v[c]) * Acc(v[c]);
  sum = warp_sum(sum);
  if (threadIdx.x == 0) a.inv_rms.data[row] = 1 / sqrt(sum / Acc(width) + a.eps);
}

template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    forward_kernel(ShortConvForward<T> a, const int64_t* first) {
  using Acc = Accumulator<T>;
  const int64_t position = warp_row(), channels = a.v.size(2);
  if (position >= a.v.size(0) * a.v.size(1)) return;
  for (int64_t c = threadIdx.x; c < channels; c += kWarpSize) {
    const Acc o = convolved<Acc>(a, first, position, c);
    a.y.data[position * channels + c] = T(Acc(a.v.data[position * channels + c]) + o * sigmoid(o));
  }
}

template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) dv_kernel(ShortConvBackward<T> a, const int64_t* first) {
  using Acc = Accumulator<T>;
  const int64_t streams = a.gain.size(0), width = a.gain.size(1), row = warp_row(), position = row / streams;
  if (row >= a.inv_rms.numel()) return;
  const int64_t stream_begin = row % streams * width;
  const T *v = a.v.data + row * width, *dy = a.dy.data + row * width, *gain = a.gain.row(row % streams);
  Acc dot = 0;
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) {
    dot += Acc(gain[c]) * dnormed(a, first, position, stream_begin + c) * Acc(v[c]);
  }
  const Acc inv_rms = a.inv_rms.data[row];
  const Acc along = warp_sum(dot) * inv_rms * inv_rms * inv_rms / Acc(width);
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) {
    const Acc dz = dnormed(a, first, position, stream_begin + c);
    a.dv.data[row * width + c] = T(Acc(dy[c]) + inv_rms * Acc(gain[c]) * dz - Acc(v[c]) * along);
  }
}

// Both parameters' gradients of a channel come from the same sums D_j = sum of do[t] * (v * inv_rms)[t - distance of
// j]: dweight_j = gain * D_j and dgain = sum over j of weight_j * D_j.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kColumnLanes)
    dparameters_kernel(ShortConvBackward<T> a, const int64_t* first) {
  using Acc = Accumulator<T>;
  const int64_t channel = block_column();
  const bool inside = channel < a.v.size(2), writes = inside && threadIdx.y == 0;
  Acc dgain = 0;
  for (int64_t tap = 0; tap < a.weight.size(1); ++tap) {
    const int64_t distance = (a.weight.size(1) - 1 - tap) * a.dilation;
    const Acc sum = column_sum<Acc>(inside ? a.v.size(0) * a.v.size(1) : 0, [&](int64_t position) -> Acc {
      const int64_t begin = first == nullptr ? 0 : first[position];
      if (position % a.v.size(1) - distance < begin) return 0;
      return dconvolved(a, first, position, channel) * scaled<Acc>(a, position - distance, channel);
    });
    if (!writes) continue;
    a.dweight(channel, tap) += Acc(a.gain.data[channel]) * sum;
    dgain += Acc(a.weight(channel, tap)) * sum;
  }
  if (writes) a.dgain.data[channel] += dgain;
}

// Where there are segments, finds what the kernels take as `first`, in scratch memory behind `used`.
template <class Args>
const int64_t* find_first(CudaQueue& queue, const Args& a, int64_t& used) {
  const int64_t count = a.starts.data == nullptr ? 0 : a.starts.numel();
  if (count == 0) return nullptr;
  int64_t* first = scratch<int64_t>(queue, count, used);
  const int64_t reach = (a.weight.size(1) - 1) * a.dilation;
  first_kernel<<<blocks_for(count, kThreads), kThreads, 0, queue.handle>>>(a.starts, reach, first);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
  return first;
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const ShortConvForward<T>& a) {
  int64_t used = 0;
  const int64_t* first = find_first(queue, a, used);
  if (run_walk(queue, a, first)) return;
  launch_rows(queue, inv_rms_kernel<T>, a.inv_rms.numel(), a);
  launch_rows(queue, forward_kernel<T>, a.v.size(0) * a.v.size(1), a, first);
}

template <class T>
void run(CudaQueue& queue, const ShortConvBackward<T>& a) {
  int64_t used = 0;
  const int64_t* first = find_first(queue, a, used);
  if (run_walk(queue, a, first, used)) return;
  launch_columns(queue, dparameters_kernel<T>, a.v.size(2), a, first);
  launch_rows(queue, dv_kernel<T>, a.inv_rms.numel(), a, first);
}

template void run(CudaQueue&, const ShortConvForward<bfloat16>&);
template void run(CudaQueue&, const ShortConvForward<float>&);
template void run(CudaQueue&, const ShortConvForward<double>&);
template void run(CudaQueue&, const ShortConvBackward<bfloat16>&);
template void run(CudaQueue&, const ShortConvBackward<float>&);
template void run(CudaQueue&, const ShortConvBackward<double>&);

}  // namespace engram
