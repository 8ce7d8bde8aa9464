#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

template <class T>
struct TargetRank {
  View<const T, 2> logits;
  View<const int32_t, 1> targets;
  View<int64_t, 1> ranks;
};

template <class T>
void run(CpuQueue&, const TargetRank<T>&);
template <class T>
void run(CudaQueue&, const TargetRank<T>&);

}  // namespace engram
