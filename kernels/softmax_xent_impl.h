#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

template <class T>
struct SoftmaxXent {
  View<const T, 2> logits;
  View<const int32_t, 1> targets;
  Accumulator<T> scale;
  View<Accumulator<T>, 1> loss;
  View<T, 2> dlogits;  // data == nullptr: the loss alone
};

template <class T>
void run(CpuQueue&, const SoftmaxXent<T>&);
template <class T>
void run(CudaQueue&, const SoftmaxXent<T>&);

}  // namespace engram
