#pragma once

#include <cmath>

#include "kernels/core/stream.h"
#include "kernels/core/view.h"
#include "kernels/engram_gate.h"

namespace engram {

inline constexpr double kGateFloor = 1e-6;  // |score| below which the signed square root is held

// u of the score.
template <class T>
ENGRAM_HOST_DEVICE inline T gate_argument(T score, GateForm form, GateSign sign) {
  if (form == GateForm::kPlain || (sign == GateSign::kSign && score == 0)) return score;
  const T size = std::abs(score), floor = T(kGateFloor);
  return std::copysign(std::sqrt(size < floor ? floor : size), score);
}

// du / dscore.
template <class T>
ENGRAM_HOST_DEVICE inline T gate_slope(T score, GateForm form) {
  if (form == GateForm::kPlain) return 1;
  const T size = std::abs(score);
  return size <= T(kGateFloor) ? T(0) : 1 / (2 * std::sqrt(size));
}

template <class T>
struct EngramGateForward {
  View<const T, 3> h;
  View<const T, 2> kv;
  View<const T, 2> gain_q;
  View<const T, 2> gain_k;
  View<const uint8_t, 1> dead;  // data == nullptr: none
  GateForm form;
  GateSign sign;
  Accumulator<T> eps;
  View<T, 3> gated;
  View<Accumulator<T>, 2> score;
  View<Accumulator<T>, 2> alpha;
  View<Accumulator<T>, 2> inv_rms_q;
  View<Accumulator<T>, 2> inv_rms_k;
};

template <class T>
struct EngramGateBackward {
  View<const T, 3> h;
  View<const T, 2> kv;
  View<const T, 2> gain_q;
  View<const T, 2> gain_k;
  View<const uint8_t, 1> dead;  // data == nullptr: none
  GateForm form;
  View<const Accumulator<T>, 2> score;
  View<const Accumulator<T>, 2> alpha;
  View<const Accumulator<T>, 2> inv_rms_q;
  View<const Accumulator<T>, 2> inv_rms_k;
  View<const T, 3> dgated;
  View<const T, 3> dpast;  // data == nullptr: none
  View<T, 3> dh;
  View<T, 2> dkv;
  View<Accumulator<T>, 2> dgain_q;
  View<Accumulator<T>, 2> dgain_k;
};

template <class T>
void run(CpuQueue&, const EngramGateForward<T>&);
template <class T>
void run(CpuQueue&, const EngramGateBackward<T>&);
template <class T>
void run(CudaQueue&, const EngramGateForward<T>&);
template <class T>
void run(CudaQueue&, const EngramGateBackward<T>&);

}  // namespace engram
