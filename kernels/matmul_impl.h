#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

// T is the type of the factors, Out that of the result: T or Accumulator<T>.
template <class T, class Out>
struct Matmul {
  View<const T, 2> a;
  View<const T, 2> b;
  View<Out, 2> c;
  bool transpose_a;
  bool transpose_b;
  bool accumulate;
};

template <class T, class Out>
void run(CpuQueue&, const Matmul<T, Out>&);
template <class T, class Out>
void run(CudaQueue&, const Matmul<T, Out>&);

}  // namespace engram
