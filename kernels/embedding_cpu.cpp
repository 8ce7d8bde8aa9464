#include <algorithm>

#include "kernels/embedding_impl.h"

namespace engram {

template <class T>
void run(CpuQueue& queue, const EmbeddingForward<T>& a) {
  const int64_t width = a.table.size(1);
  queue.for_each_row(a.tokens.size(0), [&](int64_t i) { std::copy_n(a.table.row(a.tokens(i)), width, a.y.row(i)); });
}

template <class T>
void run(CpuQueue&, const EmbeddingBackward<T>& a) {
  const int64_t width = a.dy.size(1);
  for (int64_t i = 0; i < a.tokens.size(0); ++i) {
    const T* dy = a.dy.row(i);
    T* dtable = a.dtable.row(a.tokens(i));
    for (int64_t c = 0; c < width; ++c) dtable[c] += dy[c];
  }
}

template void run(CpuQueue&, const EmbeddingForward<float>&);
template void run(CpuQueue&, const EmbeddingForward<double>&);
template void run(CpuQueue&, const EmbeddingBackward<float>&);
template void run(CpuQueue&, const EmbeddingBackward<double>&);

}  // namespace engram
