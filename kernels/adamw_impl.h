#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

template <class T>
struct AdamW {
  View<T, 1> weight;
  View<const T, 1> grad;
  View<T, 1> m;
  View<T, 1> v;
  T grad_scale;
  T beta1;
  T beta2;
  T one_minus_beta1;
  T one_minus_beta2;
  T eps;
  T step_size;     // learning_rate / (1 - beta1^step)
  T correction_v;  // 1 / (1 - beta2^step)
  T decay;         // learning_rate * weight_decay
};

template <class T>
void run(CpuQueue&, const AdamW<T>&);
template <class T>
void run(CudaQueue&, const AdamW<T>&);

}  // namespace engram
