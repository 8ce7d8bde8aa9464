#include "model/linear.h"

#include "kernels/matmul.h"

namespace engram {

Tensor Linear::forward(Context& ctx, const Tensor& x, Saved& saved) const {
  saved.x = x;
  const Tensor y = ctx.arena.take("linear.y", x.dtype, {x.size(0), weight_.value.size(0)});
  matmul(ctx.stream, x, weight_.value, y, {.transpose_b = true});
  return y;
}

Tensor Linear::backward(Context& ctx, const Tensor& dy, const Saved& saved) const {
  matmul(ctx.stream, dy, saved.x, weight_.grad, {.transpose_a = true, .accumulate = true});
  const Tensor dx = ctx.arena.take("linear.dx", dy.dtype, {dy.size(0), weight_.value.size(1)});
  matmul(ctx.stream, dy, weight_.value, dx, {});
  return dx;
}

}  // namespace engram
