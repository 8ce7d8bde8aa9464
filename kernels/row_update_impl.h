#pragma once

#include <limits>

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
struct RowUpdateRowwiseAdam {
  View<const double, 1> control;
  View<const int64_t, 1> slots;
  View<const Accumulator<T>, 2> grad;
  double lr;
  double beta1;
  double beta2;
  double eps;
  View<T, 2> weight;
  View<Accumulator<T>, 2> m;
  View<Accumulator<T>, 1> v;
  View<int32_t, 1> count;
};

template <class T>
struct RowUpdateRowwiseAdagrad {
  View<const double, 1> control;
  View<const int64_t, 1> slots;
  View<const Accumulator<T>, 2> grad;
  double lr;
  double eps;
  View<T, 2> weight;
  View<Accumulator<T>, 1> s;
};

// A row's own number of updates after one more.
ENGRAM_HOST_DEVICE inline int32_t next_count(int32_t count) {
  return count < std::numeric_limits<int32_t>::max() ? count + 1 : count;
}

template <class T>
void run(CpuQueue&, const RowUpdateSgd<T>&);
template <class T>
void run(CpuQueue&, const RowUpdateAdamLazy<T>&);
template <class T>
void run(CpuQueue&, const RowUpdateAdamDense<T>&);
template <class T>
void run(CpuQueue&, const RowUpdateRowwiseAdam<T>&);
template <class T>
void run(CpuQueue&, const RowUpdateRowwiseAdagrad<T>&);
template <class T>
void run(CudaQueue&, const RowUpdateSgd<T>&);
template <class T>
void run(CudaQueue&, const RowUpdateAdamLazy<T>&);
template <class T>
void run(CudaQueue&, const RowUpdateAdamDense<T>&);
template <class T>
void run(CudaQueue&, const RowUpdateRowwiseAdam<T>&);
template <class T>
void run(CudaQueue&, const RowUpdateRowwiseAdagrad<T>&);

}  // namespace engram
