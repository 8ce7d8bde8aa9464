#pragma once

#include "kernels/core/stream.h"
#include "kernels/heads.h"

namespace engram {

template <class T>
struct RopeTable {
  double theta;
  View<T, 3> table;
};

// The gains' data == nullptr: no norm.
template <class T>
struct QkNormOf {
  View<const T, 1> query_gain;
  View<const T, 1> key_gain;
  int64_t num_query_heads;
  Accumulator<T> eps;
};

template <class T>
struct RopeForward {
  Heads<const T> x;
  QkNormOf<T> norm;
  View<const Accumulator<T>, 3> table;
  Heads<T> y;
};

template <class T>
struct RopeBackward {
  Heads<const T> x;
  QkNormOf<T> norm;
  View<const Accumulator<T>, 3> table;
  Heads<const T> dy;
  Heads<T> dx;
  View<Accumulator<T>, 1> dquery_gain;
  View<Accumulator<T>, 1> dkey_gain;
};

template <class T>
void run(CpuQueue&, const RopeTable<T>&);
template <class T>
void run(CpuQueue&, const RopeForward<T>&);
template <class T>
void run(CpuQueue&, const RopeBackward<T>&);
template <class T>
void run(CudaQueue&, const RopeTable<T>&);
template <class T>
void run(CudaQueue&, const RopeForward<T>&);
template <class T>
void run(CudaQueue&, const RopeBackward<T>&);

}  // namespace engram
