#include "model/connection.h"

#include "kernels/elementwise.h"
#include "kernels/rms_norm.h"

namespace engram {
namespace {

// [num_tokens, 1, width] as rows.
Tensor as_rows(const Tensor& streams) { return streams.reshape({streams.size(0), streams.size(2)}); }

Tensor take_like(Context& ctx, const char* name, const Tensor& streams) {
  return ctx.arena.take(name, streams.dtype, {streams.size(0), streams.size(1), streams.size(2)});
}

}  // namespace

Tensor Connection::merge(Context& ctx, const Residual& residual) {
  if (residual.pending.empty()) return residual.streams;
  const Tensor merged = take_like(ctx, "connection.merged", residual.streams);
  add(ctx.stream, as_rows(residual.streams), residual.pending, as_rows(merged));
  return merged;
}

Tensor Connection::forward(Context& ctx, Residual& residual, Saved& saved) const {
  const Tensor& x = residual.streams;
  const Tensor y = ctx.arena.take("connection.y", x.dtype, {x.size(0), x.size(2)});
  saved.inv_rms = ctx.arena.take("connection.inv_rms", accumulator(x.dtype), {x.size(0)});
  if (residual.pending.empty()) {
    saved.streams = x;
    rms_norm_forward(ctx.stream, as_rows(x), norm_weight_.value, eps_, y, saved.inv_rms);
  } else {
    saved.streams = take_like(ctx, "connection.streams", x);
    add_rms_norm_forward(ctx.stream, as_rows(x), residual.pending, norm_weight_.value, eps_, as_rows(saved.streams), y,
                         saved.inv_rms);
  }
  residual = {.streams = saved.streams, .pending = {}};
  return y;
}

Residual Connection::backward(Context& ctx, const Tensor& dstreams, const Tensor& dx, const Saved& saved) const {
  const Tensor total = dstreams.empty() ? take_like(ctx, "connection.dstreams", saved.streams) : dstreams;
  rms_norm_backward(ctx.stream, as_rows(saved.streams), norm_weight_.value, saved.inv_rms, dx,
                    dstreams.empty() ? Tensor{} : as_rows(total), as_rows(total), norm_weight_.grad);
  return {.streams = total, .pending = as_rows(total)};
}

}  // namespace engram
