#pragma once

#include "model/context.h"
#include "model/parameter.h"

namespace engram {

// y = x W^T, with x [num_rows, in], W [out, in], y [num_rows, out].
class Linear {
 public:
  struct Saved {
    Tensor x;  // the caller's own
  };
  explicit Linear(Parameter& weight) : weight_(weight) {}

  Tensor forward(Context& ctx, const Tensor& x, Saved& saved) const;
  // Returns dx = dy W and adds dy^T x to the weight's gradient.
  Tensor backward(Context& ctx, const Tensor& dy, const Saved& saved) const;

 private:
  Parameter& weight_;
};

}  // namespace engram
