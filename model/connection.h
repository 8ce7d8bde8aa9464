#pragma once

#include "model/context.h"
#include "model/parameter.h"

namespace engram {

// The residual between two sub-layers: streams [num_tokens, M, width], and the output [num_tokens, width] of the last
// sub-layer, which the next connection mixes in. pending is empty where there is none. The same pair carries gradients.
struct Residual {
  Tensor streams;
  Tensor pending;
};

// Maps (streams, output of the last sub-layer) to (streams, normed input of the next sub-layer). With M = 1 it is
// streams + output and an RMSNorm, in one pass; other M are hyper-connections.
class Connection {
 public:
  struct Saved {
    Tensor streams;  // after the output was mixed in
    Tensor inv_rms;
  };
  Connection(Parameter& norm_weight, double eps) : norm_weight_(norm_weight), eps_(eps) {}

  // Mixes the pending output into the streams, and no more: where a module reads the streams themselves.
  static Tensor merge(Context& ctx, const Residual& residual);

  // Updates the residual (pending becomes empty) and returns the normed input [num_tokens, width] of the next
  // sub-layer.
  Tensor forward(Context& ctx, Residual& residual, Saved& saved) const;

  // From the gradient of the streams after this connection (may be empty) and dx of what forward() returned, the
  // gradients of the streams and of the pending output before it, in the memory of dstreams where there is some; with
  // M = 1 they are one tensor. Adds to the norm's gradient.
  Residual backward(Context& ctx, const Tensor& dstreams, const Tensor& dx, const Saved& saved) const;

 private:
  Parameter& norm_weight_;
  double eps_;
};

}  // namespace engram
