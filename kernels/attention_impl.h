#pragma once

#include "kernels/core/stream.h"
#include "kernels/heads.h"

namespace engram {

template <class T>
struct AttentionForward {
  Heads<const T> q;
  Heads<const T> k;
  Heads<const T> v;
  Heads<T> out;
  View<Accumulator<T>, 3> lse;
};

template <class T>
struct AttentionBackward {
  Heads<const T> q;
  Heads<const T> k;
  Heads<const T> v;
  Heads<const T> out;
  View<const Accumulator<T>, 3> lse;
  Heads<const T> dout;
  Heads<T> dq;
  Heads<T> dk;
  Heads<T> dv;
  bool deterministic = true;
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
