#pragma once

#include "model/context.h"
#include "model/parameter.h"

namespace engram {

// y = x / rms(x) * weight over the last axis; see kernels/rms_norm.h.
class RmsNorm {
 public:
  // What backward() needs of one forward() call; the caller keeps one per micro-batch in flight.
  struct Saved {
    Tensor x;        // [num_rows, width], the caller's own
    Tensor inv_rms;  // [num_rows]
  };
  RmsNorm(Parameter& weight, double eps) : weight_(weight), eps_(eps) {}

  // Returns y, shaped as x, in the context's arena.
  Tensor forward(Context& ctx, const Tensor& x, Saved& saved) const;
  // Returns dx, shaped as dy, and adds to the weight's gradient.
  Tensor backward(Context& ctx, const Tensor& dy, const Saved& saved) const;

 private:
  Parameter& weight_;
  double eps_;
};

}  // namespace engram
