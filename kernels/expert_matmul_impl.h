#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

template <class T>
struct ExpertMatmulForward {
  View<const T, 2> x;
  View<const T, 3> weight;
  View<const int64_t, 1> offsets;
  View<T, 2> y;
};

template <class T>
struct ExpertMatmulBackwardInput {
  View<const T, 2> dy;
  View<const T, 3> weight;
  View<const int64_t, 1> offsets;
  View<T, 2> dx;
};

template <class T>
struct ExpertMatmulBackwardWeight {
  View<const T, 2> dy;
  View<const T, 2> x;
  View<const int64_t, 1> offsets;
  View<Accumulator<T>, 3> dweight;
};

template <class T>
void run(CpuQueue&, const ExpertMatmulForward<T>&);
template <class T>
void run(CpuQueue&, const ExpertMatmulBackwardInput<T>&);
template <class T>
void run(CpuQueue&, const ExpertMatmulBackwardWeight<T>&);
template <class T>
void run(CudaQueue&, const ExpertMatmulForward<T>&);
template <class T>
void run(CudaQueue&, const ExpertMatmulBackwardInput<T>&);
template <class T>
void run(CudaQueue&, const ExpertMatmulBackwardWeight<T>&);

}  // namespace engram
