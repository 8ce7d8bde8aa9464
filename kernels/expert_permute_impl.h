#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

struct ExpertPermutePlan {
  View<const int32_t, 2> expert;
  View<int64_t, 1> offsets;
  View<int64_t, 2> slot;
};

template <class T>
struct PermuteForward {
  View<const T, 2> x;
  View<const int64_t, 2> slot;
  View<T, 2> sorted;
};

template <class T>
struct PermuteBackward {
  View<const T, 2> dsorted;
  View<const int64_t, 2> slot;
  View<T, 2> dx;
};

template <class T>
struct UnpermuteForward {
  View<const T, 2> sorted;
  View<const int64_t, 2> slot;
  View<const Accumulator<T>, 2> weight;
  View<T, 2> y;
};

template <class T>
struct UnpermuteBackward {
  View<const T, 2> sorted;
  View<const int64_t, 2> slot;
  View<const Accumulator<T>, 2> weight;
  View<const T, 2> dy;
  View<T, 2> dsorted;
  View<Accumulator<T>, 2> dweight;
};

void run(CpuQueue&, const ExpertPermutePlan&);
template <class T>
void run(CpuQueue&, const PermuteForward<T>&);
template <class T>
void run(CpuQueue&, const PermuteBackward<T>&);
template <class T>
void run(CpuQueue&, const UnpermuteForward<T>&);
template <class T>
void run(CpuQueue&, const UnpermuteBackward<T>&);
void run(CudaQueue&, const ExpertPermutePlan&);
template <class T>
void run(CudaQueue&, const PermuteForward<T>&);
template <class T>
void run(CudaQueue&, const PermuteBackward<T>&);
template <class T>
void run(CudaQueue&, const UnpermuteForward<T>&);
template <class T>
void run(CudaQueue&, const UnpermuteBackward<T>&);

}  // namespace engram
