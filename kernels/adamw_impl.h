#pragma once

#include <cmath>

#include "kernels/adamw.h"
#include "kernels/core/view.h"
#include "kernels/update_control.h"

namespace engram {

template <class T>
struct AdamW {
  View<const double, 1> control;
  View<T, 1> weight;
  View<const T, 1> grad;
  View<T, 1> m;
  View<T, 1> v;
  View<bfloat16, 1> rounded;  // optional
  AdamWOptions options;
};

// What each element of an update needs of control and options.
template <class T>
struct AdamWFactors {
  T grad_scale;
  T beta1;
  T beta2;
  T one_minus_beta1;
  T one_minus_beta2;
  T eps;
  T step_size;     // learning rate / (1 - beta1^t)
  T correction_v;  // 1 / (1 - beta2^t)
  T decay;         // learning rate * weight_decay
};

template <class T>
ENGRAM_HOST_DEVICE AdamWFactors<T> factors_of(const AdamWOptions& options, const UpdateControl& control) {
  const auto t = static_cast<double>(control.num_updates);
  const double lr = options.learning_rate * control.lr_ratio;
  return {.grad_scale = T(control.grad_scale),
          .beta1 = T(options.beta1),
          .beta2 = T(options.beta2),
          .one_minus_beta1 = T(1 - options.beta1),
          .one_minus_beta2 = T(1 - options.beta2),
          .eps = T(options.eps),
          .step_size = T(lr * (1 / (1 - pow(options.beta1, t)))),
          .correction_v = T(1 / (1 - pow(options.beta2, t))),
          .decay = T(lr * options.weight_decay)};
}

template <class T>
void run(CpuQueue&, const AdamW<T>&);
template <class T>
void run(CudaQueue&, const AdamW<T>&);

}  // namespace engram
