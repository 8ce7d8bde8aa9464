#include "kernels/embedding.h"

#include "kernels/core/dispatch.h"
#include "kernels/embedding_impl.h"

namespace engram {

void embedding_forward(Stream& stream, const Tensor& tokens, const Tensor& table, const Tensor& y) {
  check_tensor("embedding: tokens", tokens, DType::kInt32, {-1});
  check_tensor("embedding: table", table, table.dtype, {-1, -1});
  check_tensor("embedding: y", y, table.dtype, {tokens.size(0), table.size(1)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "embedding", stream, table.dtype, [&]<class T>(auto& queue) {
        run(queue, EmbeddingForward<T>{
                       .tokens = view<const int32_t, 1>(tokens), .table = view<const T, 2>(table), .y = view<T, 2>(y)});
      });
}

void embedding_backward(Stream& stream, const Tensor& tokens, const Tensor& dy, const Tensor& dtable) {
  check_tensor("embedding: tokens", tokens, DType::kInt32, {-1});
  check_tensor("embedding: dy", dy, dy.dtype, {tokens.size(0), -1});
  check_tensor("embedding: dtable", dtable, accumulator(dy.dtype), {-1, dy.size(1)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>("embedding", stream, dy.dtype, [&]<class T>(auto& queue) {
    run(queue, EmbeddingBackward<T>{.tokens = view<const int32_t, 1>(tokens),
                                    .dy = view<const T, 2>(dy),
                                    .dtable = view<Accumulator<T>, 2>(dtable)});
  });
}

}  // namespace engram
