#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

template <class T>
struct RmsNormForward {
  View<const T, 2> x;
  View<const T, 2> delta;  // data == nullptr: nothing is added, and sum is not written
  View<const T, 1> weight;
  Accumulator<T> eps;
  View<T, 2> sum;
  View<T, 2> y;
  View<Accumulator<T>, 1> inv_rms;
};

template <class T>
struct RmsNormBackward {
  View<const T, 2> x;
  View<const T, 1> weight;
  View<const Accumulator<T>, 1> inv_rms;
  View<const T, 2> dy;
  View<const T, 2> dsum;  // data == nullptr: none
  View<T, 2> dx;
  View<Accumulator<T>, 1> dweight;
};

template <class T>
void run(CpuQueue&, const RmsNormForward<T>&);
template <class T>
void run(CpuQueue&, const RmsNormBackward<T>&);
template <class T>
void run(CudaQueue&, const RmsNormForward<T>&);
template <class T>
void run(CudaQueue&, const RmsNormBackward<T>&);

}  // namespace engram
