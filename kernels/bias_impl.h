#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

template <class T>
struct AddBiasForward {
  View<const T, 2> x;
  View<const T, 1> bias;
  View<T, 2> y;
};

template <class T>
struct AddBiasBackward {
  View<const T, 2> dy;
  View<Accumulator<T>, 1> dbias;
};

template <class T>
void run(CpuQueue&, const AddBiasForward<T>&);
template <class T>
void run(CpuQueue&, const AddBiasBackward<T>&);
template <class T>
void run(CudaQueue&, const AddBiasForward<T>&);
template <class T>
void run(CudaQueue&, const AddBiasBackward<T>&);

}  // namespace engram
