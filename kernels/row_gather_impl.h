#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

template <class T>
struct RowGather {
  View<const T, 2> rows;
  View<const int64_t, 1> index;
  View<T, 2> out;
};

template <class T>
void run(CpuQueue&, const RowGather<T>&);
template <class T>
void run(CudaQueue&, const RowGather<T>&);

}  // namespace engram
