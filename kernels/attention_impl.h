#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

template <class T>
struct AttentionForward {
  View<const T, 4> q;
  View<const T, 4> k;
  View<const T, 4> v;
  View<T, 4> out;
  View<Accumulator<T>, 3> lse;
};

template <class T>
struct AttentionBackward {
  View<const T, 4> q;
  View<const T, 4> k;
  View<const T, 4> v;
  View<const T, 4> out;
  View<const Accumulator<T>, 3> lse;
  View<const T, 4> dout;
  View<T, 4> dq;
  View<T, 4> dk;
  View<T, 4> dv;
};

template <class T>
void run(CpuQueue&, const AttentionForward<T>&);
template <class T>
void run(CpuQueue&, const AttentionBackward<T>&);
template <class T>
void run(CudaQueue&, const AttentionForward<T>&);
template <class T>
void run(CudaQueue&, const AttentionBackward<T>&);

}  // namespace engram
