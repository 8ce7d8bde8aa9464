#include "model/rms_norm.h"

#include "kernels/rms_norm.h"

namespace engram {

Tensor RmsNorm::forward(Context& ctx, const Tensor& x, Saved& saved) const {
  const Tensor y = ctx.arena.take("norm.y", x.dtype, {x.size(0), x.size(1)});
  saved = {.x = x, .inv_rms = ctx.arena.take("norm.inv_rms", accumulator(x.dtype), {x.size(0)})};
  rms_norm_forward(ctx.stream, x, weight_.value, eps_, y, saved.inv_rms);
  return y;
}

Tensor RmsNorm::backward(Context& ctx, const Tensor& dy, const Saved& saved) const {
  const Tensor dx = ctx.arena.take("norm.dx", dy.dtype, {dy.size(0), dy.size(1)});
  rms_norm_backward(ctx.stream, saved.x, weight_.value, saved.inv_rms, dy, {}, dx, weight_.grad);
  return dx;
}

}  // namespace engram
