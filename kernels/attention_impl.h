#pragma once

#include <algorithm>

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
};

// Sequences whose backward pass cuDNN does at once: as many as keep the gradients of their scores, of `score_bytes` for
// one, within a GiB, at least one, and all calls but the last alike.
inline int64_t attention_sequences_per_call(int64_t batch, int64_t score_bytes) {
  const int64_t most = std::max<int64_t>(1, (int64_t{1} << 30) / score_bytes), calls = (batch + most - 1) / most;
  return (batch + calls - 1) / calls;
}

template <class T>
void run(CpuQueue&, const AttentionForward<T>&);
template <class T>
void run(CpuQueue&, const AttentionBackward<T>&);
template <class T>
void run(CudaQueue&, const AttentionForward<T>&);
template <class T>
void run(CudaQueue&, const AttentionBackward<T>&);

}  // namespace engram
