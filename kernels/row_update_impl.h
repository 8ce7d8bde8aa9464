#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"
#include "kernels/update_control.h"

namespace engram {

template <class T>
struct RowUpdateSgd {
  View<const double, 1> control;
  View<const int64_t, 1> slots;
  View<const Accumulator<T>, 2> grad;
  double lr;
  View<T, 2> weight;
};

template <class T>
struct RowUpdateAdam {
  View<const double, 1> control;
  View<const int64_t, 1> slots;
  View<const Accumulator<T>, 2> grad;
  double lr;
  double beta1;
  double beta2;
  double eps;
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
