#include "kernels/rope.h"

#include "kernels/core/dispatch.h"
#include "kernels/rope_impl.h"

namespace engram {
namespace {

void check(const HeadSlice& y, const QkNorm& norm, const Tensor& table) {
  const DType dtype = y.packed.dtype;
  check_heads("rope: y", y, dtype, {-1, -1, -1, -1});
  const auto [batch, seq, heads, head_dim] = y.shape();
  ENGRAM_CHECK(head_dim % 2 == 0, "rope: head_dim is ", head_dim, "; wanted an even number");
  check_tensor("rope: table", table, accumulator(dtype), {-1, head_dim / 2, 2});
  ENGRAM_CHECK(table.size(0) >= seq, "rope: the table has ", table.size(0), " positions, the sequence ", seq);
  ENGRAM_CHECK(norm.query_gain.empty() == norm.key_gain.empty(), "rope: one of the two gains is missing");
  if (norm.query_gain.empty()) return;
  check_tensor("rope: query_gain", norm.query_gain, dtype, {head_dim});
  check_tensor("rope: key_gain", norm.key_gain, dtype, {head_dim});
  ENGRAM_CHECK(norm.num_query_heads >= 0 && norm.num_query_heads <= heads, "rope: ", norm.num_query_heads,
               " query heads among ", heads);
}

template <class T>
QkNormOf<T> typed(const QkNorm& norm) {
  return {.query_gain = optional_view<const T, 1>(norm.query_gain),
          .key_gain = optional_view<const T, 1>(norm.key_gain),
          .num_query_heads = norm.num_query_heads,
          .eps = static_cast<Accumulator<T>>(norm.eps)};
}

}  // namespace

void rope_table(Stream& stream, double theta, const Tensor& table) {
  check_tensor("rope: table", table, table.dtype, {-1, -1, 2});
  ENGRAM_CHECK(theta > 0, "rope: theta is ", theta, "; wanted a positive number");
  dispatch<Cpu<float, double>, Cuda<float, double>>("rope", stream, table.dtype, [&]<class T>(auto& queue) {
    run(queue, RopeTable<T>{.theta = theta, .table = view<T, 3>(table)});
  });
}

void rope_forward(Stream& stream, const HeadSlice& x, const QkNorm& norm, const Tensor& table, const HeadSlice& y) {
  const DType dtype = y.packed.dtype;
  check(y, norm, table);
  check_heads("rope: x", x, dtype, y.shape());
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>("rope", stream, dtype, [&]<class T>(auto& queue) {
    run(queue, RopeForward<T>{.x = heads_view<const T>(x),
                              .norm = typed<T>(norm),
                              .table = view<const Accumulator<T>, 3>(table),
                              .y = heads_view<T>(y)});
  });
}

void rope_backward(Stream& stream, const HeadSlice& x, const QkNorm& norm, const Tensor& table, const HeadSlice& dy,
                   const HeadSlice& dx, const Tensor& dquery_gain, const Tensor& dkey_gain) {
  const DType dtype = dx.packed.dtype;
  check(dx, norm, table);
  check_heads("rope: dy", dy, dtype, dx.shape());
  const bool has_norm = !norm.query_gain.empty();
  if (has_norm) {
    check_heads("rope: x", x, dtype, dx.shape());
    check_tensor("rope: dquery_gain", dquery_gain, accumulator(dtype), {dx.packed.size(3)});
    check_tensor("rope: dkey_gain", dkey_gain, accumulator(dtype), {dx.packed.size(3)});
  }
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>("rope", stream, dtype, [&]<class T>(auto& queue) {
    run(queue, RopeBackward<T>{.x = has_norm ? heads_view<const T>(x) : Heads<const T>{},
                               .norm = typed<T>(norm),
                               .table = view<const Accumulator<T>, 3>(table),
                               .dy = heads_view<const T>(dy),
                               .dx = heads_view<T>(dx),
                               .dquery_gain = optional_view<Accumulator<T>, 1>(dquery_gain),
                               .dkey_gain = optional_view<Accumulator<T>, 1>(dkey_gain)});
  });
}

}  // namespace engram
