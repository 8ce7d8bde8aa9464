#include <algorithm>
#include <limits>
#include <memory>

#include "kernels/attention_impl.h"
#include "kernels/cpu_gemm.h"
#include "kernels/cpu_math.h"

namespace engram {
namespace {

// Query rows per block: long enough for full matrix products, short enough that little above the diagonal is computed
// and a block of scores stays in the second-level cache.
constexpr int64_t kBlock = 128;

// One head of one sequence: row i starts at data + i * stride.
template <class T>
struct Head {
  T* data;
  int64_t stride;
  int64_t dim;
  T* row(int64_t i) const { return data + i * stride; }
};

template <class T>
Head<T> head_of(const Heads<T>& x, int64_t batch, int64_t head) {
  return {x.at(batch * x.size(1), head), x.stride, x.size(3)};
}

// Query rows [begin, begin + rows) against the keys [0, keys) that the last of them sees.
struct Block {
  int64_t begin;
  int64_t rows;
  int64_t keys;
};

template <class Body>
void for_each_block(int64_t seq, Body&& body) {
  for (int64_t begin = 0; begin < seq; begin += kBlock) {
    const int64_t rows = std::min(kBlock, seq - begin);
    body(Block{.begin = begin, .rows = rows, .keys = begin + rows});
  }
}

// products[r, j] = alpha * dot(x[begin + r], y[j]), [rows, keys]
template <class T>
void dot_rows(const Block& block, T alpha, Head<const T> x, Head<const T> y, T* products) {
  gemm(Gemm<T>{.m = block.rows,
               .n = block.keys,
               .k = x.dim,
               .a = x.row(block.begin),
               .a_stride = x.stride,
               .b = y.data,
               .b_stride = y.stride,
               .c = products,
               .c_stride = block.keys,
               .transpose_b = true,
               .alpha = alpha});
}

// y[begin + r] = sum_j weights[r, j] x[j]
template <class T>
void mix_keys(const Block& block, const T* weights, Head<const T> x, Head<T> y) {
  gemm(Gemm<T>{.m = block.rows,
               .n = x.dim,
               .k = block.keys,
               .a = weights,
               .a_stride = block.keys,
               .b = x.data,
               .b_stride = x.stride,
               .c = y.row(block.begin),
               .c_stride = y.stride});
}

// y[j] += sum_r weights[r, j] x[begin + r]
template <class T>
void add_queries(const Block& block, const T* weights, Head<const T> x, Head<T> y) {
  gemm(Gemm<T>{.m = block.keys,
               .n = x.dim,
               .k = block.rows,
               .a = weights,
               .a_stride = block.keys,
               .b = x.row(block.begin),
               .b_stride = x.stride,
               .c = y.data,
               .c_stride = y.stride,
               .transpose_a = true,
               .beta = T(1)});
}

// exp(score - largest) over the keys that row r sees, 0 over the rest; returns their sum and adds log(sum) to largest.
template <class T>
T exponentials(const Block& block, int64_t r, T* scores, T& lse) {
  const int64_t seen = block.begin + r + 1;
  const T largest = lane_max(seen, -std::numeric_limits<T>::infinity(), [=](int64_t j) { return scores[j]; });
  const T sum = lane_sum<T>(seen, [=](int64_t j) { return scores[j] = fast_exp(scores[j] - largest); });
  std::fill(scores + seen, scores + block.keys, T(0));
  lse = largest + std::log(sum);
  return sum;
}

template <class T>
void forward_head(const AttentionForward<T>& a, int64_t batch, int64_t head, T* scores) {
  const int64_t kv_head = head / (a.q.size(2) / a.k.size(2));
  const Head<const T> q = head_of(a.q, batch, head), k = head_of(a.k, batch, kv_head), v = head_of(a.v, batch, kv_head);
  const Head<T> out = head_of(a.out, batch, head);
  const T scale = 1 / std::sqrt(T(q.dim));
  for_each_block(a.q.size(1), [&](const Block& block) {
    T sums[kBlock];
    dot_rows(block, scale, q, k, scores);
    for (int64_t r = 0; r < block.rows; ++r) {
      sums[r] = exponentials(block, r, scores + r * block.keys, a.lse(batch, head, block.begin + r));
    }
    mix_keys(block, scores, v, out);
    for (int64_t r = 0; r < block.rows; ++r) {
      const T factor = 1 / sums[r];
      T* row = out.row(block.begin + r);
      for (int64_t c = 0; c < out.dim; ++c) row[c] *= factor;
    }
  });
}

// From scores to probabilities p, and from dp to ds = p * (dp - delta) * scale; 0 over the keys that row r does not
// see.
template <class T>
struct BackwardRow {
  T lse;
  T delta;
  T scale;
  void operator()(int64_t seen, int64_t keys, T* p, T* ds) const {
#pragma GCC ivdep  // two separate arrays
    for (int64_t j = 0; j < seen; ++j) {
      p[j] = fast_exp(p[j] - lse);
      ds[j] = p[j] * (ds[j] - delta) * scale;
    }
    std::fill(p + seen, p + keys, T(0));
    std::fill(ds + seen, ds + keys, T(0));
  }
};

template <class T>
void backward_head(const AttentionBackward<T>& a, int64_t batch, int64_t head, T* scores, T* dscores) {
  const int64_t kv_head = head / (a.q.size(2) / a.k.size(2));
  const Head<const T> q = head_of(a.q, batch, head), k = head_of(a.k, batch, kv_head), v = head_of(a.v, batch, kv_head);
  const Head<const T> out = head_of(a.out, batch, head), dout = head_of(a.dout, batch, head);
  const T scale = 1 / std::sqrt(T(q.dim));
  for_each_block(a.q.size(1), [&](const Block& block) {
    dot_rows(block, scale, q, k, scores);
    dot_rows(block, T(1), dout, v, dscores);
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t i = block.begin + r;
      const T *out_row = out.row(i), *dout_row = dout.row(i);
      const T delta = lane_sum<T>(q.dim, [=](int64_t c) { return out_row[c] * dout_row[c]; });
      const BackwardRow<T> to_gradient{.lse = a.lse(batch, head, i), .delta = delta, .scale = scale};
      to_gradient(i + 1, block.keys, scores + r * block.keys, dscores + r * block.keys);
    }
    mix_keys(block, dscores, k, head_of(a.dq, batch, head));
    add_queries(block, dscores, q, head_of(a.dk, batch, kv_head));
    add_queries(block, scores, dout, head_of(a.dv, batch, kv_head));
  });
}

template <class T>
void fill_zero(const Heads<T>& x) {
  for (int64_t position = 0; position < x.num_positions(); ++position) {
    std::fill_n(x.at(position, 0), x.size(2) * x.size(3), T(0));
  }
}

// Room for the scores of one block of queries.
template <class T>
std::unique_ptr<T[]> make_scores(int64_t seq) {
  return std::make_unique_for_overwrite<T[]>(static_cast<size_t>(std::min(seq, kBlock) * seq));
}

}  // namespace

template <class T>
void run(CpuQueue&, const AttentionForward<T>& a) {
  const auto scores = make_scores<T>(a.q.size(1));
  for (int64_t batch = 0; batch < a.q.size(0); ++batch) {
    for (int64_t head = 0; head < a.q.size(2); ++head) forward_head(a, batch, head, scores.get());
  }
}

template <class T>
void run(CpuQueue&, const AttentionBackward<T>& a) {
  const auto scores = make_scores<T>(a.q.size(1)), dscores = make_scores<T>(a.q.size(1));
  fill_zero(a.dk);
  fill_zero(a.dv);
  for (int64_t batch = 0; batch < a.q.size(0); ++batch) {
    for (int64_t head = 0; head < a.q.size(2); ++head) backward_head(a, batch, head, scores.get(), dscores.get());
  }
}

template void run(CpuQueue&, const AttentionForward<float>&);
template void run(CpuQueue&, const AttentionForward<double>&);
template void run(CpuQueue&, const AttentionBackward<float>&);
template void run(CpuQueue&, const AttentionBackward<double>&);

}  // namespace engram
