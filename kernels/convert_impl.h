#pragma once

#include <type_traits>

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

// From T to the other one of float and bfloat16.
template <class T>
struct Convert {
  using Other = std::conditional_t<std::is_same_v<T, float>, bfloat16, float>;
  View<const T, 1> x;
  View<Other, 1> y;
};

template <class T>
void run(CpuQueue&, const Convert<T>&);
template <class T>
void run(CudaQueue&, const Convert<T>&);

}  // namespace engram
