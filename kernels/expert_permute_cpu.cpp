#include <algorithm>
#include <vector>

#include "kernels/expert_permute_impl.h"

namespace engram {

void run(CpuQueue&, const ExpertPermutePlan& a) {
  const int64_t num_experts = a.offsets.size(0) - 1, count = a.expert.numel();
  std::fill(a.offsets.data, a.offsets.data + num_experts + 1, int64_t{0});
  for (int64_t i = 0; i < count; ++i) ++a.offsets(a.expert.data[i] + 1);
  for (int64_t e = 0; e < num_experts; ++e) a.offsets(e + 1) += a.offsets(e);
  std::vector<int64_t> next(a.offsets.data, a.offsets.data + num_experts);
  for (int64_t i = 0; i < count; ++i) {
    a.slot.data[i] = next[static_cast<size_t>(a.expert.data[i])]++;
    a.choice(a.slot.data[i]) = i;
  }
}

template <class T>
void run(CpuQueue& queue, const Permute<T>& a) {
  const int64_t width = a.x.size(1), top_k = a.slot.size(1);
  queue.for_each_row(a.x.size(0), [&](int64_t token) {
    const T* x = a.x.row(token);
    for (int64_t i = 0; i < top_k; ++i) std::copy(x, x + width, a.sorted.row(a.slot(token, i)));
  });
}

template <class T>
void run(CpuQueue& queue, const Unpermute<T>& a) {
  const int64_t width = a.y.size(1), top_k = a.slot.size(1);
  std::vector<T> sum(static_cast<size_t>(width));
  queue.for_each_row(a.y.size(0), [&](int64_t token) {
    std::fill(sum.begin(), sum.end(), T(0));
    for (int64_t i = 0; i < top_k; ++i) {
      const T* sorted = a.sorted.row(a.slot(token, i));
      for (int64_t c = 0; c < width; ++c) sum.data()[c] += sorted[c];
    }
    T* y = a.y.row(token);
    const T* addend = a.addend.data == nullptr ? nullptr : a.addend.row(token);
    for (int64_t c = 0; c < width; ++c) y[c] = sum.data()[c] + (addend == nullptr ? T(0) : addend[c]);
  });
}

template void run(CpuQueue&, const Permute<float>&);
template void run(CpuQueue&, const Permute<double>&);
template void run(CpuQueue&, const Permute<int32_t>&);
template void run(CpuQueue&, const Unpermute<float>&);
template void run(CpuQueue&, const Unpermute<double>&);

}  // namespace engram
