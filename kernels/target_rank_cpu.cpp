#include "kernels/target_rank_impl.h"

namespace engram {

template <class T>
void run(CpuQueue& queue, const TargetRank<T>& a) {
  queue.for_each_row(a.logits.size(0), [&](int64_t row) {
    const int64_t target = a.targets(row);
    const T* logits = a.logits.row(row);
    const T own = logits[target];
    int64_t rank = 1;
    for (int64_t c = 0; c < target; ++c) rank += logits[c] >= own ? 1 : 0;
    for (int64_t c = target + 1; c < a.logits.size(1); ++c) rank += logits[c] > own ? 1 : 0;
    a.ranks(row) = rank;
  });
}

template void run(CpuQueue&, const TargetRank<float>&);
template void run(CpuQueue&, const TargetRank<double>&);

}  // namespace engram
