#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

struct ShortConvOptions {
  int64_t dilation = 1;  // distance between taps, in positions; Engram: the largest n-gram order
  double eps = 1e-5;     // of the norm, in units of v^2
};

// Depthwise causal dilated convolution of the normed input, SiLU, plus the input (batch index left out):
//   z[t] = v[t] * inv_rms[t] * gain, the norm over the width of each stream;
//   o[t, c] = sum over taps j of weight[c, j] * z[t - (taps - 1 - j) * dilation, c];  y = v + silu(o).
// What lies before the sequence is 0, and so is what lies before the last start at or before t where starts are given.
//
//   v, y     [batch, seq, streams * width]  same dtype; y is written and may not be v
//   gain     [streams, width]
//   weight   [streams * width, taps]
//   starts   [batch, seq] uint8, 1 = a segment starts here; empty = no segments
//   inv_rms  [batch, seq, streams]  accumulator dtype, written; kept for short_conv_backward
//
// Throws Error where a shape or dtype does not fit.
void short_conv_forward(Stream& stream, const Tensor& v, const Tensor& gain, const Tensor& weight, const Tensor& starts,
                        const ShortConvOptions& options, const Tensor& y, const Tensor& inv_rms);

struct ShortConvGradients {
  Tensor dv;       // [batch, seq, streams * width], written; may not be v or dy
  Tensor dgain;    // [streams, width], accumulator dtype, added to
  Tensor dweight;  // [streams * width, taps], accumulator dtype, added to
};

// do = dy * silu'(o); dz[t] = sum over taps of weight * do of the later positions that read z[t]; dv = dy + the norm's
// gradient of dz.
//
//   dy  [batch, seq, streams * width]
void short_conv_backward(Stream& stream, const Tensor& v, const Tensor& gain, const Tensor& weight,
                         const Tensor& starts, const ShortConvOptions& options, const Tensor& inv_rms, const Tensor& dy,
                         const ShortConvGradients& gradients);

}  // namespace engram
