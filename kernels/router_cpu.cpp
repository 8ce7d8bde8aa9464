#include <algorithm>
#include <vector>

#include "kernels/cpu_math.h"
#include "kernels/router_impl.h"

namespace engram {
namespace {

template <class T>
T sum_of_chosen(const T* logits, const int32_t* expert, int64_t top_k) {
  T sum = T(kSmallAffinity);
  for (int64_t i = 0; i < top_k; ++i) sum += fast_sigmoid(logits[expert[i]]);
  return sum;
}

}  // namespace

template <class T>
void run(CpuQueue& queue, const RouterForward<T>& a) {
  const int64_t num_experts = a.logits.size(1), top_k = a.expert.size(1);
  std::vector<T> score(static_cast<size_t>(num_experts));
  std::vector<uint8_t> taken(static_cast<size_t>(num_experts));
  queue.for_each_row(a.logits.size(0), [&](int64_t row) {
    const T* logits = a.logits.row(row);
    for (int64_t e = 0; e < num_experts; ++e) score.data()[e] = fast_sigmoid(logits[e]) + a.bias.data[e];
    std::fill(taken.begin(), taken.end(), uint8_t{0});
    int32_t* expert = a.expert.row(row);
    for (int64_t i = 0; i < top_k; ++i) {
      int64_t best = 0;
      while (taken.data()[best] != 0) ++best;  // top_k <= num_experts: one is left
      for (int64_t e = best + 1; e < num_experts; ++e) {
        if (taken.data()[e] == 0 && score.data()[e] > score.data()[best]) best = e;
      }
      taken.data()[best] = 1;
      expert[i] = static_cast<int32_t>(best);
      ++a.load(best);
    }
    const T factor = a.scale / sum_of_chosen(logits, expert, top_k);
    for (int64_t i = 0; i < top_k; ++i) a.weight(row, i) = fast_sigmoid(logits[expert[i]]) * factor;
  });
}

// With S = sum of the chosen s: ds_i = scale / S * (dweight_i - sum_j dweight_j s_j / S), dlogit = ds * s * (1 - s).
template <class T>
void run(CpuQueue& queue, const RouterBackward<T>& a) {
  const int64_t num_experts = a.logits.size(1), top_k = a.expert.size(1);
  queue.for_each_row(a.logits.size(0), [&](int64_t row) {
    const T *logits = a.logits.row(row), *dweight = a.dweight.row(row);
    const int32_t* expert = a.expert.row(row);
    T* dlogits = a.dlogits.row(row);
    std::fill(dlogits, dlogits + num_experts, T(0));
    const T sum = sum_of_chosen(logits, expert, top_k);
    T mean = 0;
    for (int64_t i = 0; i < top_k; ++i) mean += dweight[i] * fast_sigmoid(logits[expert[i]]) / sum;
    for (int64_t i = 0; i < top_k; ++i) {
      const T s = fast_sigmoid(logits[expert[i]]);
      dlogits[expert[i]] = a.scale / sum * (dweight[i] - mean) * s * (1 - s);
    }
  });
}

template <class T>
void run(CpuQueue& queue, const RouterUpdateBias<T>& a) {
  if (!read_control(a.control).apply) return;
  const int64_t num_experts = a.load.size(1);
  queue.for_each_row(a.load.size(0), [&](int64_t layer) {
    int64_t total = 0;
    for (int64_t e = 0; e < num_experts; ++e) total += a.load(layer, e);
    for (int64_t e = 0; e < num_experts; ++e) {
      const int64_t above = a.load(layer, e) * num_experts;  // compared with total: the mean in whole numbers
      a.bias(layer, e) += a.rate * T((total > above) - (total < above));
    }
  });
}

template void run(CpuQueue&, const RouterForward<float>&);
template void run(CpuQueue&, const RouterForward<double>&);
template void run(CpuQueue&, const RouterBackward<float>&);
template void run(CpuQueue&, const RouterBackward<double>&);
template void run(CpuQueue&, const RouterUpdateBias<float>&);
template void run(CpuQueue&, const RouterUpdateBias<double>&);

}  // namespace engram
