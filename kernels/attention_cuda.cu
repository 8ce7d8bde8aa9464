#include <limits>

#include "kernels/attention_impl.h"
#include "kernels/cuda/attention_cudnn.cuh"
#include "kernels/cuda/attention_mma.cuh"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/resources.cuh"

namespace engram {
namespace {

// Turns scores into weights exp(score - largest), where `largest`, the `total` of the weights and the `sums` weighted
// by them cover all keys so far and are scaled anew where a larger score comes.
template <class Shape>
__device__ void add_scores(typename Shape::Scores& scores, float* weights, float (&largest)[Shape::kRows],
                           float (&total)[Shape::kRows], typename Shape::Sums& sums) {
#pragma unroll
  for (int i = 0; i < Shape::kRows; ++i) {
    float here = scores[i][0];
#pragma unroll
    for (int j = 1; j < Shape::kRows; ++j) here = fmaxf(here, scores[i][j]);
    const float past = largest[i];
    largest[i] = fmaxf(past, row_max(here));
    float sum = 0;
#pragma unroll
    for (int j = 0; j < Shape::kRows; ++j) {
      const float weight = expf(scores[i][j] - largest[i]);
      weights[score_at<Shape>(i, j)] = weight;
      sum += weight;
    }
    const float shrink = expf(past - largest[i]);
    total[i] = total[i] * shrink + row_sum(sum);
#pragma unroll
    for (int j = 0; j < Shape::kColumns; ++j) sums[i][j] *= shrink;
  }
}

// One block a tile of queries, which walks over the tiles of keys up to its own. Every query sees key 0, so that
// `largest` is finite after the first tile. Keys past the end of the sequence are later than every query.
template <class T, class Shape>
__global__ void __launch_bounds__(kTileThreads) forward_kernel(AttentionForward<T> a) {
  extern __shared__ float shared[];
  float *queries = shared, *keys = queries + Shape::kTileFloats, *weights = keys + Shape::kTileFloats;
  const Place place = place_of<Shape>(a.q.size(1), a.q.size(2));
  const int64_t kv_head = place.head / (a.q.size(2) / a.k.size(2)), seq = a.q.size(1);
  const HeadView<const T> k = head_of(a.k, place.batch, kv_head), v = head_of(a.v, place.batch, kv_head);
  const float scale = 1 / sqrtf(float(a.q.size(3)));

  typename Shape::Sums sums = {};
  float largest[Shape::kRows], total[Shape::kRows];
  for (int i = 0; i < Shape::kRows; ++i) {
    largest[i] = -std::numeric_limits<float>::infinity();
    total[i] = 0;
  }
  load_tile<Shape>(head_of(a.q, place.batch, place.head), place.begin, queries);
  const int64_t first_row = place.begin + thread_row() * Shape::kRows;
  for (int64_t first = 0; first <= place.begin; first += Shape::kTile) {
    __syncthreads();
    load_tile<Shape>(k, first, keys);
    __syncthreads();
    typename Shape::Scores scores;
    dot_rows<Shape>(queries, keys, scores);
    for (int i = 0; i < Shape::kRows; ++i) {
      for (int j = 0; j < Shape::kRows; ++j) {
        const bool seen = first + thread_column() + kSide * j <= first_row + i;
        scores[i][j] = seen ? scores[i][j] * scale : -std::numeric_limits<float>::infinity();
      }
    }
    add_scores<Shape>(scores, weights, largest, total, sums);
    __syncthreads();
    load_tile<Shape>(v, first, keys);
    __syncthreads();
    mix_rows<Shape>(weights, keys, sums);
  }
  for (int i = 0; i < Shape::kRows; ++i) {
    for (int j = 0; j < Shape::kColumns; ++j) sums[i][j] /= total[i];
    if (thread_column() == 0 && first_row + i < seq) {
      a.lse(place.batch, place.head, first_row + i) = largest[i] + logf(total[i]);
    }
  }
  store_tile<Shape>(sums, place.begin, head_of(a.out, place.batch, place.head));
}

constexpr int kRowsPerBlock = 8;

// delta[batch, head, i] = dot(dout[i], out[i]); one warp a row.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) delta_kernel(AttentionBackward<T> a, View<float, 3> delta) {
  const int64_t row = int64_t{blockIdx.x} * kRowsPerBlock + threadIdx.y, seq = delta.size(2), dim = a.out.size(3);
  if (row >= delta.numel()) return;
  const int64_t head = row / seq % delta.size(1), batch = row / seq / delta.size(1);
  const HeadView<const T> out = head_of(a.out, batch, head), dout = head_of(a.dout, batch, head);
  const int64_t begin = row % seq * out.stride;
  float sum = 0;
  for (int64_t c = threadIdx.x; c < dim; c += kWarpSize) {
    sum += float(out.data[begin + c]) * float(dout.data[begin + c]);
  }
  sum = warp_sum(sum);
  if (threadIdx.x == 0) delta.data[row] = sum;
}

// One block a tile of queries: dq = sum over keys of ds * k.
template <class T, class Shape>
__global__ void __launch_bounds__(kTileThreads) dq_kernel(AttentionBackward<T> a, View<float, 3> delta) {
  extern __shared__ float shared[];
  float *queries = shared, *douts = queries + Shape::kTileFloats, *keys = douts + Shape::kTileFloats;
  float *values = keys + Shape::kTileFloats, *dscores = values + Shape::kTileFloats;
  const Place place = place_of<Shape>(a.q.size(1), a.q.size(2));
  const int64_t kv_head = place.head / (a.q.size(2) / a.k.size(2)), seq = a.q.size(1);
  const HeadView<const T> k = head_of(a.k, place.batch, kv_head), v = head_of(a.v, place.batch, kv_head);
  const float scale = 1 / sqrtf(float(a.q.size(3)));

  typename Shape::Sums sums = {};
  load_tile<Shape>(head_of(a.q, place.batch, place.head), place.begin, queries);
  load_tile<Shape>(head_of(a.dout, place.batch, place.head), place.begin, douts);
  const int64_t first_row = place.begin + thread_row() * Shape::kRows;
  for (int64_t first = 0; first <= place.begin; first += Shape::kTile) {
    __syncthreads();
    load_tile<Shape>(k, first, keys);
    load_tile<Shape>(v, first, values);
    __syncthreads();
    typename Shape::Scores scores, dweights;
    dot_rows<Shape>(queries, keys, scores);
    dot_rows<Shape>(douts, values, dweights);
    for (int i = 0; i < Shape::kRows; ++i) {
      const int64_t row = first_row + i;
      const float lse = row < seq ? a.lse(place.batch, place.head, row) : 0.0f;
      const float past = row < seq ? delta(place.batch, place.head, row) : 0.0f;
      for (int j = 0; j < Shape::kRows; ++j) {
        const bool seen = row < seq && first + thread_column() + kSide * j <= row;
        const float weight = seen ? expf(scores[i][j] * scale - lse) : 0.0f;
        dscores[score_at<Shape>(i, j)] = seen ? weight * (dweights[i][j] - past) * scale : 0.0f;
      }
    }
    __syncthreads();
    mix_rows<Shape>(dscores, keys, sums);
  }
  store_tile<Shape>(sums, place.begin, head_of(a.dq, place.batch, place.head));
}

// One block a tile of keys, over the heads of its group in order, and over the tiles of queries from its own on.
template <class T, class Shape>
__global__ void __launch_bounds__(kTileThreads) dkv_kernel(AttentionBackward<T> a, View<float, 3> delta) {
  extern __shared__ float shared[];
  float *keys = shared, *values = keys + Shape::kTileFloats, *queries = values + Shape::kTileFloats;
  float *douts = queries + Shape::kTileFloats, *weights = douts + Shape::kTileFloats;
  float* dscores = weights + Shape::kScoreFloats;
  const Place place = place_of<Shape>(a.k.size(1), a.k.size(2));
  const int64_t group = a.q.size(2) / a.k.size(2), seq = a.q.size(1);
  const float scale = 1 / sqrtf(float(a.q.size(3)));

  typename Shape::Sums dk = {}, dv = {};
  load_tile<Shape>(head_of(a.k, place.batch, place.head), place.begin, keys);
  load_tile<Shape>(head_of(a.v, place.batch, place.head), place.begin, values);
  const int64_t first_key = place.begin + thread_row() * Shape::kRows;
  for (int64_t head = place.head * group; head < (place.head + 1) * group; ++head) {
    for (int64_t first = place.begin; first < seq; first += Shape::kTile) {
      __syncthreads();
      load_tile<Shape>(head_of(a.q, place.batch, head), first, queries);
      load_tile<Shape>(head_of(a.dout, place.batch, head), first, douts);
      __syncthreads();
      typename Shape::Scores scores, dweights;
      dot_rows<Shape>(keys, queries, scores);
      dot_rows<Shape>(values, douts, dweights);
      for (int j = 0; j < Shape::kRows; ++j) {
        const int64_t query = first + thread_column() + kSide * j;
        const float lse = query < seq ? a.lse(place.batch, head, query) : 0.0f;
        const float past = query < seq ? delta(place.batch, head, query) : 0.0f;
        for (int i = 0; i < Shape::kRows; ++i) {
          const bool seen = query < seq && first_key + i <= query;
          const float weight = seen ? expf(scores[i][j] * scale - lse) : 0.0f;
          weights[score_at<Shape>(i, j)] = weight;
          dscores[score_at<Shape>(i, j)] = seen ? weight * (dweights[i][j] - past) * scale : 0.0f;
        }
      }
      __syncthreads();
      mix_rows<Shape>(weights, douts, dv);
      mix_rows<Shape>(dscores, queries, dk);
    }
  }
  store_tile<Shape>(dk, place.begin, head_of(a.dk, place.batch, place.head));
  store_tile<Shape>(dv, place.begin, head_of(a.dv, place.batch, place.head));
}

// Calls body(shape) with a shape whose tiles hold `dim` channels and fit the shared memory of a block.
template <class Body>
void with_shape(int64_t dim, Body&& body) {
  ENGRAM_CHECK(dim <= 256, "attention: heads of ", dim, " channels; the CUDA form takes at most 256");
  if (dim <= 64) return body(TileShape<64, 64>{});
  if (dim <= 128) return body(TileShape<64, 128>{});
  body(TileShape<32, 256>{});
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const AttentionForward<T>& a) {
  if (forward_by_cudnn(queue, a) || forward_on_tensor_cores(queue, a)) return;
  with_shape(a.q.size(3), [&]<class Shape>(Shape) {
    constexpr int kBytes = (2 * Shape::kTileFloats + Shape::kScoreFloats) * sizeof(float);
    launch_tiles<Shape>(queue, a.q, kBytes, forward_kernel<T, Shape>, a);
  });
}

template <class T>
void run(CudaQueue& queue, const AttentionBackward<T>& a) {
  if (backward_by_cudnn(queue, a)) return;
  int64_t used = 0;
  const View<float, 3> delta{scratch<float>(queue, a.lse.numel(), used), {a.lse.size(0), a.lse.size(1), a.lse.size(2)}};
  if (delta.numel() > 0) {
    const dim3 threads(kWarpSize, kRowsPerBlock);
    delta_kernel<T><<<blocks_for(delta.numel(), kRowsPerBlock), threads, 0, queue.handle>>>(a, delta);
    ENGRAM_CUDA_CHECK(cudaGetLastError());
  }
  if (backward_on_tensor_cores(queue, a, delta)) return;
  with_shape(a.q.size(3), [&]<class Shape>(Shape) {
    constexpr int kTileBytes = 4 * Shape::kTileFloats * sizeof(float),
                  kScoreBytes = Shape::kScoreFloats * sizeof(float);
    launch_tiles<Shape>(queue, a.q, kTileBytes + kScoreBytes, dq_kernel<T, Shape>, a, delta);
    launch_tiles<Shape>(queue, a.k, kTileBytes + 2 * kScoreBytes, dkv_kernel<T, Shape>, a, delta);
  });
}

template void run(CudaQueue&, const AttentionForward<bfloat16>&);
template void run(CudaQueue&, const AttentionForward<float>&);
template void run(CudaQueue&, const AttentionBackward<bfloat16>&);
template void run(CudaQueue&, const AttentionBackward<float>&);

}  // namespace engram
