#include <limits>

#include "kernels/cuda/attention_mma.cuh"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/mma.cuh"

namespace engram {
namespace {

using Head = HeadView<const bfloat16>;

// A block of four warps works on kTile positions, 16 in each warp. A tile in shared memory has 16 bytes more a row, so
// that the rows of an 8 x 8 matrix lie in different banks.
template <int kChannels>
struct MmaShape {
  static constexpr int kTile = 64, kThreads = 128, kDim = kChannels;
  static constexpr int kScores = kTile / 8, kColumns = kDim / 8, kStride = kDim + 8, kElements = kTile * kStride;

  using Scores = float[kScores][4];
  using Sums = float[kColumns][4];
};

__device__ int warp_row() { return static_cast<int>(threadIdx.x) / kWarpSize * 16; }
// Row and column of element e of fragment n within the warp's 16 rows.
__device__ int row_of(int e) { return lane_index() / 4 + e / 2 * 8; }
__device__ int column_of(int n, int e) { return 8 * n + lane_index() % 4 * 2 + e % 2; }

// Positions [begin, begin + kTile) of a head, 16 bytes at a time; 0 past its end and past its channels.
template <class Shape>
__device__ void load(const Head& from, int64_t begin, bfloat16* tile) {
  constexpr int kPieces = Shape::kDim / 8;
  for (int e = static_cast<int>(threadIdx.x); e < Shape::kTile * kPieces; e += Shape::kThreads) {
    const int row = e / kPieces, c = e % kPieces * 8;
    uint4 piece = {0, 0, 0, 0};
    if (begin + row < from.seq && c < from.dim) {
      piece = *reinterpret_cast<const uint4*>(from.data + (begin + row) * from.stride + c);
    }
    *reinterpret_cast<uint4*>(tile + row * Shape::kStride + c) = piece;
  }
}

template <class Shape>
__device__ void store(const typename Shape::Sums& sums, int64_t begin, const HeadView<bfloat16>& to) {
#pragma unroll
  for (int e = 0; e < 4; e += 2) {
    const int64_t row = begin + warp_row() + row_of(e);
#pragma unroll
    for (int n = 0; n < Shape::kColumns; ++n) {
      if (row >= to.seq || column_of(n, e) >= to.dim) continue;
      auto* pair = reinterpret_cast<uint32_t*>(to.data + row * to.stride + column_of(n, e));
      *pair = pack(sums[n][e], sums[n][e + 1]);
    }
  }
}

constexpr float kLog2OfE = 1.4426950408889634f;

// One block a tile of queries, as forward_kernel of attention_cuda.cu; scores are in units of log 2.
template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads) forward_mma_kernel(AttentionForward<bfloat16> a) {
  extern __shared__ uint4 shared_pieces[];
  bfloat16* queries = reinterpret_cast<bfloat16*>(shared_pieces);
  bfloat16 *keys = queries + Shape::kElements, *values = keys + Shape::kElements;
  const Place place = place_of<Shape>(a.q.size(1), a.q.size(2));
  const int64_t kv_head = place.head / (a.q.size(2) / a.k.size(2)), seq = a.q.size(1);
  const Head k = head_of(a.k, place.batch, kv_head), v = head_of(a.v, place.batch, kv_head);
  const float scale = kLog2OfE / sqrtf(float(a.q.size(3)));
  constexpr float kNever = -std::numeric_limits<float>::infinity();

  typename Shape::Sums sums = {};
  float largest[2] = {kNever, kNever}, total[2] = {0, 0};
  load<Shape>(head_of(a.q, place.batch, place.head), place.begin, queries);
  for (int64_t first = 0; first <= place.begin; first += Shape::kTile) {
    __syncthreads();
    load<Shape>(k, first, keys);
    load<Shape>(v, first, values);
    __syncthreads();
    typename Shape::Scores scores = {};
    dot_rows<Shape::kDim, Shape::kStride>(queries + warp_row() * Shape::kStride, keys, scores);
    float here[2] = {kNever, kNever}, sum[2] = {0, 0};
#pragma unroll
    for (int n = 0; n < Shape::kScores; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {  // only the last tile has keys that a query does not see
        const bool seen = first < place.begin || column_of(n, e) <= warp_row() + row_of(e);
        scores[n][e] = seen ? scores[n][e] * scale : kNever;
        here[e / 2] = fmaxf(here[e / 2], scores[n][e]);
      }
    }
    float shrink[2];
    for (int half = 0; half < 2; ++half) {
      const float past = largest[half];
      largest[half] = fmaxf(past, quad_max(here[half]));
      shrink[half] = exp2f(past - largest[half]);
    }
#pragma unroll
    for (int n = 0; n < Shape::kScores; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        scores[n][e] = exp2f(scores[n][e] - largest[e / 2]);
        sum[e / 2] += scores[n][e];
      }
    }
    for (int half = 0; half < 2; ++half) total[half] = total[half] * shrink[half] + quad_sum(sum[half]);
#pragma unroll
    for (int n = 0; n < Shape::kColumns; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sums[n][e] *= shrink[e / 2];
    }
    mix_rows<Shape::kStride>(scores, values, sums);
  }
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const int64_t row = place.begin + warp_row() + row_of(e);
    for (int n = 0; n < Shape::kColumns; ++n) sums[n][e] /= total[e / 2];
    if (e % 2 == 0 && lane_index() % 4 == 0 && row < seq) {
      a.lse(place.batch, place.head, row) = (largest[e / 2] + log2f(total[e / 2])) / kLog2OfE;
    }
  }
  store<Shape>(sums, place.begin, head_of(a.out, place.batch, place.head));
}

// One block a tile of queries: dq = sum over keys of ds * k.
template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads) dq_mma_kernel(AttentionBackward<bfloat16> a, View<float, 3> delta) {
  extern __shared__ uint4 shared_pieces[];
  bfloat16* queries = reinterpret_cast<bfloat16*>(shared_pieces);
  bfloat16 *douts = queries + Shape::kElements, *keys = douts + Shape::kElements, *values = keys + Shape::kElements;
  const Place place = place_of<Shape>(a.q.size(1), a.q.size(2));
  const int64_t kv_head = place.head / (a.q.size(2) / a.k.size(2)), seq = a.q.size(1);
  const Head k = head_of(a.k, place.batch, kv_head), v = head_of(a.v, place.batch, kv_head);
  const float scale = 1 / sqrtf(float(a.q.size(3)));

  typename Shape::Sums sums = {};
  float lse[2], past[2];
  for (int half = 0; half < 2; ++half) {
    const int64_t row = place.begin + warp_row() + row_of(2 * half);
    lse[half] = row < seq ? a.lse(place.batch, place.head, row) : 0.0f;
    past[half] = row < seq ? delta(place.batch, place.head, row) : 0.0f;
  }
  load<Shape>(head_of(a.q, place.batch, place.head), place.begin, queries);
  load<Shape>(head_of(a.dout, place.batch, place.head), place.begin, douts);
  for (int64_t first = 0; first <= place.begin; first += Shape::kTile) {
    __syncthreads();
    load<Shape>(k, first, keys);
    load<Shape>(v, first, values);
    __syncthreads();
    typename Shape::Scores scores = {}, dscores = {};
    dot_rows<Shape::kDim, Shape::kStride>(queries + warp_row() * Shape::kStride, keys, scores);
    dot_rows<Shape::kDim, Shape::kStride>(douts + warp_row() * Shape::kStride, values, dscores);
#pragma unroll
    for (int n = 0; n < Shape::kScores; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const bool seen = first < place.begin || column_of(n, e) <= warp_row() + row_of(e);
        const float weight = seen ? exp2f((scores[n][e] * scale - lse[e / 2]) * kLog2OfE) : 0.0f;
        dscores[n][e] = weight * (dscores[n][e] - past[e / 2]) * scale;
      }
    }
    mix_rows<Shape::kStride>(dscores, keys, sums);
  }
  store<Shape>(sums, place.begin, head_of(a.dq, place.batch, place.head));
}

// One block a tile of keys, over the heads of its group in order, and over the tiles of queries from its own on. Past
// the end, queries, dout, lse and delta are 0, and so is what they add.
template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads) dkv_mma_kernel(AttentionBackward<bfloat16> a, View<float, 3> delta) {
  extern __shared__ uint4 shared_pieces[];
  bfloat16* keys = reinterpret_cast<bfloat16*>(shared_pieces);
  bfloat16 *values = keys + Shape::kElements, *queries = values + Shape::kElements, *douts = queries + Shape::kElements;
  const Place place = place_of<Shape>(a.k.size(1), a.k.size(2));
  const int64_t group = a.q.size(2) / a.k.size(2), seq = a.q.size(1);
  const float scale = 1 / sqrtf(float(a.q.size(3)));

  typename Shape::Sums dk = {}, dv = {};
  load<Shape>(head_of(a.k, place.batch, place.head), place.begin, keys);
  load<Shape>(head_of(a.v, place.batch, place.head), place.begin, values);
  for (int64_t head = place.head * group; head < (place.head + 1) * group; ++head) {
    for (int64_t first = place.begin; first < seq; first += Shape::kTile) {
      __syncthreads();
      load<Shape>(head_of(a.q, place.batch, head), first, queries);
      load<Shape>(head_of(a.dout, place.batch, head), first, douts);
      __syncthreads();
      typename Shape::Scores weights = {}, dscores = {};
      dot_rows<Shape::kDim, Shape::kStride>(keys + warp_row() * Shape::kStride, queries, weights);
      dot_rows<Shape::kDim, Shape::kStride>(values + warp_row() * Shape::kStride, douts, dscores);
#pragma unroll
      for (int n = 0; n < Shape::kScores; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int64_t query = first + column_of(n, e);
          const float lse = query < seq ? a.lse(place.batch, head, query) : 0.0f;
          const float past = query < seq ? delta(place.batch, head, query) : 0.0f;
          const bool seen = first > place.begin || warp_row() + row_of(e) <= column_of(n, e);
          weights[n][e] = seen ? exp2f((weights[n][e] * scale - lse) * kLog2OfE) : 0.0f;
          dscores[n][e] = weights[n][e] * (dscores[n][e] - past) * scale;
        }
      }
      mix_rows<Shape::kStride>(weights, douts, dv);
      mix_rows<Shape::kStride>(dscores, queries, dk);
    }
  }
  store<Shape>(dk, place.begin, head_of(a.dk, place.batch, place.head));
  store<Shape>(dv, place.begin, head_of(a.dv, place.batch, place.head));
}

// Whether rows of heads can be moved 16 bytes at a time.
template <class... T>
bool fit(const Heads<T>&... heads) {
  const auto aligned = [](const auto& x) { return reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.stride % 8 == 0; };
  return ((aligned(heads) && heads.size(3) % 8 == 0 && heads.size(3) <= 128) && ...);
}

template <class Shape>
constexpr int bytes_of_tiles(int count) {
  return count * Shape::kElements * static_cast<int>(sizeof(bfloat16));
}

template <class Body>
void with_shape(int64_t dim, Body&& body) {
  if (dim <= 64) return body(MmaShape<64>{});
  body(MmaShape<128>{});
}

}  // namespace

bool forward_on_tensor_cores(CudaQueue& queue, const AttentionForward<bfloat16>& a) {
  if (!fit(a.q, a.k, a.v, a.out)) return false;
  with_shape(a.q.size(3), [&]<class Shape>(Shape) {
    launch_tiles<Shape>(queue, a.q, bytes_of_tiles<Shape>(3), forward_mma_kernel<Shape>, a);
  });
  return true;
}

bool backward_on_tensor_cores(CudaQueue& queue, const AttentionBackward<bfloat16>& a, const View<float, 3>& delta) {
  if (!fit(a.q, a.k, a.v, a.dout, a.dq, a.dk, a.dv)) return false;
  with_shape(a.q.size(3), [&]<class Shape>(Shape) {
    launch_tiles<Shape>(queue, a.q, bytes_of_tiles<Shape>(4), dq_mma_kernel<Shape>, a, delta);
    launch_tiles<Shape>(queue, a.k, bytes_of_tiles<Shape>(4), dkv_mma_kernel<Shape>, a, delta);
  });
  return true;
}

}  // namespace engram
