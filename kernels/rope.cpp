#include "kernels/rope.h"

#include "kernels/core/dispatch.h"
#include "kernels/rope_impl.h"

namespace engram {
namespace {

void turn(Stream& stream, const Tensor& x, const Tensor& table, const Tensor& y, bool backward) {
  check_tensor("rope: x", x, x.dtype, {-1, -1, -1, -1});
  const int64_t seq = x.size(1), head_dim = x.size(3);
  ENGRAM_CHECK(head_dim % 2 == 0, "rope: head_dim is ", head_dim, "; wanted an even number");
  check_tensor("rope: table", table, accumulator(x.dtype), {-1, head_dim / 2, 2});
  ENGRAM_CHECK(table.size(0) >= seq, "rope: the table has ", table.size(0), " positions, the sequence ", seq);
  check_tensor("rope: y", y, x.dtype, {x.size(0), seq, x.size(2), head_dim});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>("rope", stream, x.dtype, [&]<class T>(auto& queue) {
    run(queue, Rope<T>{.x = view<const T, 4>(x),
                       .table = view<const Accumulator<T>, 3>(table),
                       .y = view<T, 4>(y),
                       .backward = backward});
  });
}

}  // namespace

void rope_table(Stream& stream, double theta, const Tensor& table) {
  check_tensor("rope: table", table, table.dtype, {-1, -1, 2});
  ENGRAM_CHECK(theta > 0, "rope: theta is ", theta, "; wanted a positive number");
  dispatch<Cpu<float, double>, Cuda<float, double>>("rope", stream, table.dtype, [&]<class T>(auto& queue) {
    run(queue, RopeTable<T>{.theta = theta, .table = view<T, 3>(table)});
  });
}

void rope_forward(Stream& stream, const Tensor& x, const Tensor& table, const Tensor& y) {
  turn(stream, x, table, y, /*backward=*/false);
}

void rope_backward(Stream& stream, const Tensor& dy, const Tensor& table, const Tensor& dx) {
  turn(stream, dy, table, dx, /*backward=*/true);
}

}  // namespace engram
