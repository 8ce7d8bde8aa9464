#include <cmath>

#include "kernels/random_fill_impl.h"

namespace engram {

template <class T>
void run(CpuQueue& queue, const FillNormal<T>& a) {
  queue.for_each_row(a.values.size(0), [&](int64_t i) {
    const uint64_t index = a.fill.first_index + static_cast<uint64_t>(i);
    const float z = normal(a.fill.seed, a.fill.domain, a.fill.tensor, index);
    a.values.data[i] = T(Accumulator<T>(std::fma(a.fill.deviation, double{z}, a.fill.mean)));
  });
}

template void run(CpuQueue&, const FillNormal<bfloat16>&);
template void run(CpuQueue&, const FillNormal<float>&);
template void run(CpuQueue&, const FillNormal<double>&);

}  // namespace engram
