#include <algorithm>
#include <bit>

#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/head_share.cuh"
#include "kernels/cuda/resources.cuh"
#include "kernels/rope_impl.h"

namespace engram {
namespace {

template <class T>
__global__ void __launch_bounds__(kBlockSize) table_kernel(RopeTable<T> a) {
  const int64_t i = thread_index(), half = a.table.size(1);
  if (i >= a.table.size(0) * half) return;
  const int64_t position = i / half, c = i % half;
  const double angle = double(position) * pow(a.theta, -double(c) / double(half));
  a.table(position, c, 0) = T(cos(angle));
  a.table(position, c, 1) = T(sin(angle));
}

constexpr int kWarps = kBlockSize / kWarpSize;

// Blocks of the backward kernel at most, on any device: the order of the gains' sums depends on it. Four for each
// multiprocessor of an H200.
constexpr int64_t kMaxBlocks = 528;

template <class T>
__device__ const T* gain_of(const QkNormOf<T>& norm, int64_t head) {
  return head < norm.num_query_heads ? norm.query_gain.data : norm.key_gain.data;
}

// Turns by the angles, or back by them where kDirection is -1. From the last position on: see warp_row_from_end().
template <bool kNorm, int kDirection, class T, class Share>
__global__ void __launch_bounds__(kBlockSize, 3) turn_kernel(RopeForward<T> a, Share share) {
  const int64_t place = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarpSize;
  const int64_t position = a.y.num_positions() - 1 - place;
  const int num_heads = static_cast<int>(a.y.size(2)), step = share.num_groups();
  if (position < 0) return;
  typename Share::Channels angles = {};
  share.read_angles(a.table.row(position % a.y.size(1)), angles);
  const T* from = a.x.at(position, 0);
  T* to = a.y.at(position, 0);
  const int head_dim = 2 * share.half;
  for (int first = share.group(); first < num_heads + share.group(); first += step * Share::kAtOnce) {
    typename Share::Raws raws[Share::kAtOnce] = {};
#pragma unroll
    for (int at = 0; at < Share::kAtOnce; ++at) {
      const int head = first + at * step;
      if (head < num_heads) share.fetch(from + head * head_dim, raws[at]);
    }
#pragma unroll
    for (int at = 0; at < Share::kAtOnce; ++at) {
      const int head = first + at * step;
      typename Share::Channels x;
      share.widen(raws[at], x);
      if constexpr (kNorm) {
        typename Share::Raws gain_raws = {};
        typename Share::Channels gain;
        share.fetch(gain_of(a.norm, head), gain_raws);
        share.widen(gain_raws, gain);
        const auto inv_rms = share.inverse_rms(x, a.norm.eps);
        share.for_each([&](int round, int part, int i) { x[round][part][i] *= inv_rms * gain[round][part][i]; });
      }
      share.turn(angles, kDirection, x);
      if (head < num_heads) share.write(x, to + head * head_dim);
    }
  }
}

// The block's sums of the gains' gradients, dgain[0] of queries and dgain[1] of keys, in the order of lanes and warps.
template <class Share, class Acc>
__device__ void write_sums(const Share& share, typename Share::Channels (&dgain)[2], Acc* of_block) {
  extern __shared__ uint4 shared_chunks[];
  Acc* of_warp = reinterpret_cast<Acc*>(shared_chunks);  // [kWarps, 2, head_dim]
  const int head_dim = 2 * share.half, warp = static_cast<int>(threadIdx.x) / kWarpSize;
  for (int kind = 0; kind < 2; ++kind) {
    share.for_each([&](int round, int part, int i) {
      Acc value = dgain[kind][round][part][i];
      for (int offset = share.lanes; offset < kWarpSize; offset *= 2) {
        value += __shfl_xor_sync(0xffffffffu, value, offset);
      }
      const int channel = share.channel(round) + i;
      if (share.group() == 0 && channel < share.half) {
        of_warp[(warp * 2 + kind) * head_dim + part * share.half + channel] = value;
      }
    });
  }
  __syncthreads();
  for (int e = static_cast<int>(threadIdx.x); e < 2 * head_dim; e += kBlockSize) {
    Acc sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += of_warp[w * 2 * head_dim + e];
    of_block[e] = sum;
  }
}

// With a norm. partial [blocks, 2, head_dim]
template <class T, class Share>
__global__ void __launch_bounds__(kBlockSize, 2)
    backward_kernel(RopeBackward<T> a, Share share, Accumulator<T>* partial) {
  using Acc = Accumulator<T>;
  using Channels = typename Share::Channels;
  const int num_heads = static_cast<int>(a.dx.size(2)), step = share.num_groups(), head_dim = 2 * share.half;
  Channels dgain[2] = {};
  for (int64_t position = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarpSize; position < a.dx.num_positions();
       position += int64_t{gridDim.x} * kWarps) {
    Channels angles = {};
    share.read_angles(a.table.row(position % a.dx.size(1)), angles);
    const T *x_row = a.x.at(position, 0), *dy_row = a.dy.at(position, 0);
    T* dx_row = a.dx.at(position, 0);
    for (int first = share.group(); first < num_heads + share.group(); first += step * Share::kAtOnce) {
      typename Share::Raws dy_raws[Share::kAtOnce] = {}, x_raws[Share::kAtOnce] = {};
#pragma unroll
      for (int at = 0; at < Share::kAtOnce; ++at) {
        const int head = first + at * step;
        if (head >= num_heads) continue;
        share.fetch(dy_row + head * head_dim, dy_raws[at]);
        share.fetch(x_row + head * head_dim, x_raws[at]);
      }
#pragma unroll
      for (int at = 0; at < Share::kAtOnce; ++at) {
        const int head = first + at * step;
        Channels g, x, gain;
        share.widen(dy_raws[at], g);
        share.turn(angles, -1, g);
        typename Share::Raws gain_raws = {};
        share.fetch(gain_of(a.norm, head), gain_raws);
        share.widen(gain_raws, gain);
        share.widen(x_raws[at], x);
        const bool is_query = head < a.norm.num_query_heads, is_key = !is_query && head < num_heads;
        const Acc inv_rms = share.inverse_rms(x, a.norm.eps);
        Acc dot = 0;
        share.for_each([&](int round, int part, int i) {
          const Acc normed = x[round][part][i] * inv_rms, dvalue = g[round][part][i];
          dgain[0][round][part][i] += is_query ? dvalue * normed : Acc(0);
          dgain[1][round][part][i] += is_key ? dvalue * normed : Acc(0);
          x[round][part][i] = normed;
          g[round][part][i] = dvalue * gain[round][part][i];
          dot += g[round][part][i] * normed;
        });
        const Acc mean = share.sum(dot) / Acc(head_dim);
        share.for_each([&](int round, int part, int i) {
          g[round][part][i] = inv_rms * (g[round][part][i] - x[round][part][i] * mean);
        });
        if (head < num_heads) share.write(g, dx_row + head * head_dim);
      }
    }
  }
  write_sums(share, dgain, partial + int64_t{blockIdx.x} * 2 * head_dim);
}

// dgain[c] += sum over the blocks, one thread column a channel of either gain.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kColumnLanes)
    dgain_kernel(RopeBackward<T> a, View<Accumulator<T>, 2> partial) {
  const int64_t column = block_column(), head_dim = a.dx.size(3);
  const bool inside = column < partial.size(1);
  const auto sum =
      column_sum<Accumulator<T>>(inside ? partial.size(0) : 0, [&](int64_t block) { return partial(block, column); });
  if (!inside || threadIdx.y != 0) return;
  (column < head_dim ? a.dquery_gain(column) : a.dkey_gain(column - head_dim)) += sum;
}

// Calls body(share) with the way to deal out a head that fits its size; chunks: heads may be moved 16 bytes at a time.
template <class T, class Body>
void with_share(int64_t head_dim, [[maybe_unused]] bool chunks, Body&& body) {
  const int half = static_cast<int>(head_dim / 2);
  if constexpr (std::is_same_v<T, bfloat16>) {
    const int lanes = half / kPerChunk<T>;
    if (chunks && half % kPerChunk<T> == 0 && lanes <= kWarpSize && std::has_single_bit(unsigned(lanes))) {
      return body(Share<T, kPerChunk<T>, 1>{lanes, half});
    }
  }
  ENGRAM_CHECK(head_dim <= 256, "rope: heads of ", head_dim, " channels; the CUDA form takes at most 256");
  body(Share<T, 1, 4>{kWarpSize, half});
}

template <class... T>
bool in_chunks_all(const Heads<T>&... heads) {
  return (in_chunks(heads.stride * static_cast<int64_t>(sizeof(T)), heads.data) && ...);
}

template <bool kNorm, int kDirection, class T>
void launch_turn(CudaQueue& queue, const RopeForward<T>& a) {
  if (a.y.numel() == 0) return;
  const bool chunks = in_chunks_all(a.x, a.y) && in_chunks(0, a.norm.query_gain.data, a.norm.key_gain.data);
  with_share<T>(a.y.size(3), chunks, [&]<class Share>(const Share& share) {
    turn_kernel<kNorm, kDirection, T, Share>
        <<<blocks_for(a.y.num_positions(), kWarps), kBlockSize, 0, queue.handle>>>(a, share);
    ENGRAM_CUDA_CHECK(cudaGetLastError());
  });
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const RopeTable<T>& a) {
  launch_each(queue, table_kernel<T>, a.table.numel() / 2, a);
}

template <class T>
void run(CudaQueue& queue, const RopeForward<T>& a) {
  a.norm.query_gain.data != nullptr ? launch_turn<true, 1>(queue, a) : launch_turn<false, 1>(queue, a);
}

// Without a norm the gradient is dy, turned back.
template <class T>
void run(CudaQueue& queue, const RopeBackward<T>& a) {
  if (a.dx.numel() == 0) return;
  using Acc = Accumulator<T>;
  const QkNormOf<T>& norm = a.norm;
  if (norm.query_gain.data == nullptr) {
    return launch_turn<false, -1>(queue, RopeForward<T>{.x = a.dy, .norm = norm, .table = a.table, .y = a.dx});
  }
  const int64_t head_dim = a.dx.size(3);
  const int64_t num_blocks = std::min<int64_t>(blocks_for(a.dx.num_positions(), kWarps), kMaxBlocks);
  const bool chunks = in_chunks_all(a.x, a.dy, a.dx) && in_chunks(0, norm.query_gain.data, norm.key_gain.data);
  with_share<T>(head_dim, chunks, [&]<class Share>(const Share& share) {
    int64_t used = 0;
    const View<Acc, 2> partial{scratch<Acc>(queue, num_blocks * 2 * head_dim, used), {num_blocks, 2 * head_dim}};
    const size_t num_bytes = kWarps * 2 * static_cast<size_t>(head_dim) * sizeof(Acc);
    const auto grid = static_cast<unsigned>(num_blocks);
    backward_kernel<T, Share><<<grid, kBlockSize, num_bytes, queue.handle>>>(a, share, partial.data);
    ENGRAM_CUDA_CHECK(cudaGetLastError());
    launch_columns(queue, dgain_kernel<T>, 2 * head_dim, a, partial);
  });
}

template void run(CudaQueue&, const RopeTable<float>&);
template void run(CudaQueue&, const RopeTable<double>&);
template void run(CudaQueue&, const RopeForward<bfloat16>&);
template void run(CudaQueue&, const RopeForward<float>&);
template void run(CudaQueue&, const RopeForward<double>&);
template void run(CudaQueue&, const RopeBackward<bfloat16>&);
template void run(CudaQueue&, const RopeBackward<float>&);
template void run(CudaQueue&, const RopeBackward<double>&);

}  // namespace engram
