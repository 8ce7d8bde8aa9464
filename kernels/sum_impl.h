#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

template <class T>
struct Sum {
  View<const T, 1> x;
  View<double, 1> total;
};

template <class T>
void run(CpuQueue&, const Sum<T>&);
template <class T>
void run(CudaQueue&, const Sum<T>&);

}  // namespace engram
