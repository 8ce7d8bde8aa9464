#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

template <class T>
struct EmbeddingForward {
  View<const int32_t, 1> tokens;
  View<const T, 2> table;
  View<T, 2> y;
};

template <class T>
struct EmbeddingBackward {
  View<const int32_t, 1> tokens;
  View<const T, 2> dy;
  View<Accumulator<T>, 2> dtable;
};

template <class T>
void run(CpuQueue&, const EmbeddingForward<T>&);
template <class T>
void run(CpuQueue&, const EmbeddingBackward<T>&);
template <class T>
void run(CudaQueue&, const EmbeddingForward<T>&);
template <class T>
void run(CudaQueue&, const EmbeddingBackward<T>&);

}  // namespace engram
