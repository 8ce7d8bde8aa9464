#pragma once

#include <bit>
#include <cmath>
#include <type_traits>

#include "kernels/adamw.h"
#include "kernels/core/rng.h"
#include "kernels/core/view.h"
#include "kernels/update_control.h"

namespace engram {

// M: of the moments.
template <class T, class M>
struct AdamW {
  View<const double, 1> control;
  View<T, 1> weight;
  View<const T, 1> grad;
  View<M, 1> m;
  View<M, 1> v;
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
  uint64_t t;
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
          .decay = T(lr * options.weight_decay),
          .t = static_cast<uint64_t>(control.num_updates)};
}

// 64 random bits of an update of one element, from all that it starts from (mixed as in Steele et al. 2014, SplitMix).
ENGRAM_HOST_DEVICE inline uint64_t rounding_bits(uint64_t t, float grad, bfloat16 m, bfloat16 v) {
  uint64_t z = uint64_t{std::bit_cast<uint32_t>(grad)} << 32 | uint32_t{m.bits} << 16 | v.bits;
  z += (t + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

template <class T, class M>
ENGRAM_HOST_DEVICE void update_element(const AdamWFactors<T>& a, T grad, T& weight, M& m, M& v) {
  const T g = a.grad_scale * grad;
  const T new_m = a.beta1 * static_cast<Accumulator<M>>(m) + a.one_minus_beta1 * g;
  const T new_v = a.beta2 * static_cast<Accumulator<M>>(v) + a.one_minus_beta2 * (g * g);
  weight -= a.decay * weight + a.step_size * new_m / (std::sqrt(a.correction_v * new_v) + a.eps);
  if constexpr (std::is_same_v<T, M>) {
    m = new_m;
    v = new_v;
  } else {
    const uint64_t random = rounding_bits(a.t, static_cast<float>(grad), m, v);
    m = round_stochastically(static_cast<float>(new_m), static_cast<uint16_t>(random));
    v = round_stochastically(static_cast<float>(new_v), static_cast<uint16_t>(random >> 16));
  }
}

template <class T, class M>
void run(CpuQueue&, const AdamW<T, M>&);
template <class T, class M>
void run(CudaQueue&, const AdamW<T, M>&);

}  // namespace engram
