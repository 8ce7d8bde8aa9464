#include <algorithm>
#include <limits>

#include "kernels/cpu_math.h"
#include "kernels/softmax_xent_impl.h"

namespace engram {

template <class T>
void run(CpuQueue& queue, const SoftmaxXent<T>& a) {
  const int64_t vocabulary = a.logits.size(1);
  queue.for_each_row(a.logits.size(0), [&](int64_t row) {
    T* dlogits = a.dlogits.data == nullptr ? nullptr : a.dlogits.row(row);
    const int64_t target = a.targets(row);
    if (target == -1) {
      a.loss(row) = 0;
      if (dlogits != nullptr) std::fill_n(dlogits, vocabulary, T(0));
      return;
    }
    const T* logits = a.logits.row(row);
    const T target_logit = a.logits(row, target);
    const T largest = lane_max(vocabulary, -std::numeric_limits<T>::infinity(), [&](int64_t c) { return logits[c]; });
    if (dlogits == nullptr) {
      const T sum = lane_sum<T>(vocabulary, [&](int64_t c) { return fast_exp(logits[c] - largest); });
      a.loss(row) = std::log(sum) + (largest - target_logit);
      return;
    }
    const T sum = lane_sum<T>(vocabulary, [&](int64_t c) { return dlogits[c] = fast_exp(logits[c] - largest); });
    a.loss(row) = std::log(sum) + (largest - target_logit);
    const T factor = a.scale / sum;
    for (int64_t c = 0; c < vocabulary; ++c) dlogits[c] *= factor;
    dlogits[target] -= a.scale;
  });
}

template void run(CpuQueue&, const SoftmaxXent<float>&);
template void run(CpuQueue&, const SoftmaxXent<double>&);

}  // namespace engram
