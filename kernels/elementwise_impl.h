#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

template <class T>
struct Add {
  View<const T, 1> a;
  View<const T, 1> b;
  View<T, 1> sum;
};

template <class T>
struct Accumulate {
  View<const T, 1> x;
  View<Accumulator<T>, 1> y;
};

template <class T>
struct Scale {
  Accumulator<T> factor;
  View<const T, 1> x;
  View<T, 1> y;
};

template <class T>
void run(CpuQueue&, const Add<T>&);
template <class T>
void run(CpuQueue&, const Accumulate<T>&);
template <class T>
void run(CpuQueue&, const Scale<T>&);
template <class T>
void run(CudaQueue&, const Add<T>&);
template <class T>
void run(CudaQueue&, const Accumulate<T>&);
template <class T>
void run(CudaQueue&, const Scale<T>&);

}  // namespace engram
