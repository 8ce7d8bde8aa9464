#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

template <class T>
struct RopeTable {
  double theta;
  View<T, 3> table;
};

// Turns x by the angles of the table, or back by them.
template <class T>
struct Rope {
  View<const T, 4> x;
  View<const Accumulator<T>, 3> table;
  View<T, 4> y;
  bool backward;
};

template <class T>
void run(CpuQueue&, const RopeTable<T>&);
template <class T>
void run(CpuQueue&, const Rope<T>&);
template <class T>
void run(CudaQueue&, const RopeTable<T>&);
template <class T>
void run(CudaQueue&, const Rope<T>&);

}  // namespace engram
