#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

template <class T>
struct RowUpdateSgd {
  View<const int64_t, 1> slots;
  View<const Accumulator<T>, 2> grad;
  Accumulator<T> lr;
  Accumulator<T> grad_scale;
  View<T, 2> weight;
};

template <class T>
struct RowUpdateAdam {
  View<const int64_t, 1> slots;
  View<const Accumulator<T>, 2> grad;
  double lr;
  double beta1;
  double beta2;
  double eps;
  double grad_scale;
  View<T, 2> weight;
  View<Accumulator<T>, 2> m;
  View<Accumulator<T>, 2> v;
};

template <class T>
struct RowUpdateAdamLazy {
  RowUpdateAdam<T> adam;
  View<int32_t, 1> count;
};

template <class T>
struct RowUpdateAdamDense {
  RowUpdateAdam<T> adam;
  int64_t step;
};

template <class T>
void run(CpuQueue&, const RowUpdateSgd<T>&);
template <class T>
void run(CpuQueue&, const RowUpdateAdamLazy<T>&);
template <class T>
void run(CpuQueue&, const RowUpdateAdamDense<T>&);
template <class T>
void run(CudaQueue&, const RowUpdateSgd<T>&);
template <class T>
void run(CudaQueue&, const RowUpdateAdamLazy<T>&);
template <class T>
void run(CudaQueue&, const RowUpdateAdamDense<T>&);

}  // namespace engram
