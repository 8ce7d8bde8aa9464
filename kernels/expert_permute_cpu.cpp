#include <algorithm>
#include <vector>

#include "kernels/cpu_math.h"
#include "kernels/expert_permute_impl.h"

namespace engram {

void run(CpuQueue&, const ExpertPermutePlan& a) {
  const int64_t num_experts = a.offsets.size(0) - 1, count = a.expert.numel();
  std::fill(a.offsets.data, a.offsets.data + num_experts + 1, int64_t{0});
  for (int64_t i = 0; i < count; ++i) ++a.offsets(a.expert.data[i] + 1);
  for (int64_t e = 0; e < num_experts; ++e) a.offsets(e + 1) += a.offsets(e);
  std::vector<int64_t> next(a.offsets.data, a.offsets.data + num_experts);
  for (int64_t i = 0; i < count; ++i) a.slot.data[i] = next[static_cast<size_t>(a.expert.data[i])]++;
}

template <class T>
void run(CpuQueue& queue, const PermuteForward<T>& a) {
  const int64_t width = a.x.size(1), top_k = a.slot.size(1);
  queue.for_each_row(a.x.size(0), [&](int64_t token) {
    const T* x = a.x.row(token);
    for (int64_t i = 0; i < top_k; ++i) std::copy(x, x + width, a.sorted.row(a.slot(token, i)));
  });
}

template <class T>
void run(CpuQueue& queue, const PermuteBackward<T>& a) {
  const int64_t width = a.dx.size(1), top_k = a.slot.size(1);
  queue.for_each_row(a.dx.size(0), [&](int64_t token) {
    T* dx = a.dx.row(token);
    std::fill(dx, dx + width, T(0));
    for (int64_t i = 0; i < top_k; ++i) {
      const T* dsorted = a.dsorted.row(a.slot(token, i));
      for (int64_t c = 0; c < width; ++c) dx[c] += dsorted[c];
    }
  });
}

template <class T>
void run(CpuQueue& queue, const UnpermuteForward<T>& a) {
  const int64_t width = a.y.size(1), top_k = a.slot.size(1);
  queue.for_each_row(a.y.size(0), [&](int64_t token) {
    T* y = a.y.row(token);
    std::fill(y, y + width, T(0));
    for (int64_t i = 0; i < top_k; ++i) {
      const T* sorted = a.sorted.row(a.slot(token, i));
      const T weight = a.weight(token, i);
      for (int64_t c = 0; c < width; ++c) y[c] += weight * sorted[c];
    }
  });
}

template <class T>
void run(CpuQueue& queue, const UnpermuteBackward<T>& a) {
  const int64_t width = a.dy.size(1), top_k = a.slot.size(1);
  queue.for_each_row(a.dy.size(0), [&](int64_t token) {
    const T* dy = a.dy.row(token);
    for (int64_t i = 0; i < top_k; ++i) {
      const int64_t slot = a.slot(token, i);
      const T* sorted = a.sorted.row(slot);
      a.dweight(token, i) = lane_sum<T>(width, [&](int64_t c) { return dy[c] * sorted[c]; });
      T* dsorted = a.dsorted.row(slot);
      const T weight = a.weight(token, i);
      for (int64_t c = 0; c < width; ++c) dsorted[c] = weight * dy[c];
    }
  });
}

template void run(CpuQueue&, const PermuteForward<float>&);
template void run(CpuQueue&, const PermuteForward<double>&);
template void run(CpuQueue&, const PermuteBackward<float>&);
template void run(CpuQueue&, const PermuteBackward<double>&);
template void run(CpuQueue&, const UnpermuteForward<float>&);
template void run(CpuQueue&, const UnpermuteForward<double>&);
template void run(CpuQueue&, const UnpermuteBackward<float>&);
template void run(CpuQueue&, const UnpermuteBackward<double>&);

}  // namespace engram
