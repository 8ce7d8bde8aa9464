#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

template <class T, class Out>
struct RowGather {
  View<const T, 2> rows;
  View<const int64_t, 1> index;
  View<Out, 2> out;
};

template <class T, class Out>
void run(CpuQueue&, const RowGather<T, Out>&);
template <class T, class Out>
void run(CudaQueue&, const RowGather<T, Out>&);

}  // namespace engram
