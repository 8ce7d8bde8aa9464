#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"
#include "kernels/random_fill.h"

namespace engram {

template <class T>
struct FillNormal {
  View<T, 1> values;
  RandomFill fill;
};

template <class T>
void run(CpuQueue&, const FillNormal<T>&);
template <class T>
void run(CudaQueue&, const FillNormal<T>&);

}  // namespace engram
