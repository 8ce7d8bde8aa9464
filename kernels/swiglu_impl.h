#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

template <class T>
struct SwigluForward {
  View<const T, 2> gate_up;
  View<const Accumulator<T>, 2> weight;  // data == nullptr, here and below: rows have no weights
  View<const int64_t, 1> choice;
  View<T, 2> y;
};

template <class T>
struct SwigluBackward {
  View<const T, 2> gate_up;
  View<const Accumulator<T>, 2> weight;
  View<const int64_t, 1> choice;
  View<const T, 2> dy;
  View<T, 2> dgate_up;
  View<Accumulator<T>, 2> dweight;
};

template <class T>
void run(CpuQueue&, const SwigluForward<T>&);
template <class T>
void run(CpuQueue&, const SwigluBackward<T>&);
template <class T>
void run(CudaQueue&, const SwigluForward<T>&);
template <class T>
void run(CudaQueue&, const SwigluBackward<T>&);

}  // namespace engram
