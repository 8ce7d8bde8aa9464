#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

struct ExpertPermutePlan {
  View<const int32_t, 2> expert;
  View<int64_t, 1> offsets;
  View<int64_t, 2> slot;
  View<int64_t, 1> choice;
};

template <class T>
struct Permute {
  View<const T, 2> x;
  View<const int64_t, 2> slot;
  View<T, 2> sorted;
};

template <class T>
struct Unpermute {
  View<const T, 2> sorted;
  View<const int64_t, 2> slot;
  View<const T, 2> addend;  // data == nullptr: none
  View<T, 2> y;
};

void run(CpuQueue&, const ExpertPermutePlan&);
template <class T>
void run(CpuQueue&, const Permute<T>&);
template <class T>
void run(CpuQueue&, const Unpermute<T>&);
void run(CudaQueue&, const ExpertPermutePlan&);
template <class T>
void run(CudaQueue&, const Permute<T>&);
template <class T>
void run(CudaQueue&, const Unpermute<T>&);

}  // namespace engram
