#pragma once

#include "model/linear.h"

namespace engram {

struct FeedForwardShape {
  int64_t hidden = 0;
  int64_t width = 0;
  double init_std = 0.02;
  double residual_init_std = 0.02;  // of the projection back to the residual stream
};

// SwiGLU (Shazeer 2020, arXiv:2002.05202): y = (silu(x G^T) * (x U^T)) D^T, with G and U in one weight [2 width,
// hidden].
class FeedForward {
 public:
  struct Saved {
    Linear::Saved in, out;
    Tensor gate_up;  // [num_tokens, 2 width]
  };
  FeedForward(ParameterStore& store, const std::string& name, const FeedForwardShape& shape);

  Tensor forward(Context& ctx, const Tensor& x, Saved& saved) const;
  Tensor backward(Context& ctx, const Tensor& dy, const Saved& saved) const;

 private:
  int64_t width_;
  Linear gate_up_, down_;
};

}  // namespace engram
