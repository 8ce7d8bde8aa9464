#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

template <class T>
struct ShortConvForward {
  View<const T, 3> v;
  View<const T, 2> gain;
  View<const T, 2> weight;
  View<const uint8_t, 2> starts;  // data == nullptr: no segments
  int64_t dilation;
  Accumulator<T> eps;
  View<T, 3> y;
  View<Accumulator<T>, 3> inv_rms;
};

template <class T>
struct ShortConvBackward {
  View<const T, 3> v;
  View<const T, 2> gain;
  View<const T, 2> weight;
  View<const uint8_t, 2> starts;  // data == nullptr: no segments
  int64_t dilation;
  View<const Accumulator<T>, 3> inv_rms;
  View<const T, 3> dy;
  View<T, 3> dv;
  View<Accumulator<T>, 2> dgain;
  View<Accumulator<T>, 2> dweight;
};

template <class T>
void run(CpuQueue&, const ShortConvForward<T>&);
template <class T>
void run(CpuQueue&, const ShortConvBackward<T>&);
template <class T>
void run(CudaQueue&, const ShortConvForward<T>&);
template <class T>
void run(CudaQueue&, const ShortConvBackward<T>&);

}  // namespace engram
