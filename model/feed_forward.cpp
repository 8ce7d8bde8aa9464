#include "model/feed_forward.h"

#include "kernels/swiglu.h"

namespace engram {

FeedForward::FeedForward(ParameterStore& store, const std::string& name, const FeedForwardShape& shape)
    : width_(shape.width),
      gate_up_(store.add(name + ".gate_up.weight", {2 * shape.width, shape.hidden}, shape.init_std)),
      down_(store.add(name + ".down.weight", {shape.hidden, shape.width}, shape.residual_init_std)) {}

Tensor FeedForward::forward(Context& ctx, const Tensor& x, Saved& saved) const {
  saved.gate_up = gate_up_.forward(ctx, x, saved.in);
  const Tensor h = ctx.arena.take("feed_forward.h", x.dtype, {x.size(0), width_});
  swiglu_forward(ctx.stream, saved.gate_up, h);
  return down_.forward(ctx, h, saved.out);
}

Tensor FeedForward::backward(Context& ctx, const Tensor& dy, const Saved& saved) const {
  const Tensor dh = down_.backward(ctx, dy, saved.out);
  const Tensor dgate_up = ctx.arena.take("feed_forward.dgate_up", dy.dtype, {dy.size(0), 2 * width_});
  swiglu_backward(ctx.stream, saved.gate_up, dh, dgate_up);
  return gate_up_.backward(ctx, dgate_up, saved.in);
}

}  // namespace engram
