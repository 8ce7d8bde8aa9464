#include <algorithm>
#include <cmath>

#include "kernels/step_control_impl.h"

namespace engram {

template <class T>
void run(CpuQueue& queue, const StepControl<T>& a) {
  const T loss = a.sums(0), both = a.sums(1) + a.sums(2);
  const bool apply = std::isfinite(loss) && std::isfinite(both);
  queue.for_each_row(a.control.size(0), [&](int64_t row) {
    a.control(row, 0) = apply ? 1 : 0;
    if (!apply) return;
    const T norm = std::sqrt(a.options.separate ? a.sums(1 + row) : both), limit = a.options.clip_norm;
    const T num_updates = a.control(row, 2) + 1;
    a.control(row, 1) = limit == 0 ? 1 : std::min(T(1), limit / (norm + 1e-6));
    a.control(row, 2) = num_updates;
    a.control(row, 3) = a.lr_ratios(std::min(static_cast<int64_t>(num_updates), a.lr_ratios.size(0)) - 1);
  });
}

template void run(CpuQueue&, const StepControl<double>&);

}  // namespace engram
