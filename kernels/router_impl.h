#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"
#include "kernels/update_control.h"

namespace engram {

inline constexpr double kSmallAffinity = 1e-20;  // keeps the weights finite where every chosen affinity underflows

template <class T>
struct RouterForward {
  View<const T, 2> logits;
  View<const T, 1> bias;
  T scale;
  View<int32_t, 2> expert;
  View<T, 2> weight;
  View<int64_t, 1> load;
};

template <class T>
struct RouterBackward {
  View<const Accumulator<T>, 2> logits;
  View<const int32_t, 2> expert;
  View<const Accumulator<T>, 2> dweight;
  Accumulator<T> scale;
  View<T, 2> dlogits;
};

template <class T>
struct RouterUpdateBias {
  View<const double, 1> control;
  View<const int64_t, 2> load;
  T rate;
  View<T, 2> bias;
};

template <class T>
void run(CpuQueue&, const RouterForward<T>&);
template <class T>
void run(CpuQueue&, const RouterBackward<T>&);
template <class T>
void run(CpuQueue&, const RouterUpdateBias<T>&);
template <class T>
void run(CudaQueue&, const RouterForward<T>&);
template <class T>
void run(CudaQueue&, const RouterBackward<T>&);
template <class T>
void run(CudaQueue&, const RouterUpdateBias<T>&);

}  // namespace engram
