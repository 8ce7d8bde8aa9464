#pragma once

#include <cmath>

#include "kernels/core/stream.h"
#include "kernels/core/view.h"
#include "kernels/step_control.h"

namespace engram {

template <class T>
struct StepControl {
  View<const T, 1> sums;
  View<const T, 1> lr_ratios;
  StepControlOptions options;
  View<T, 1> guard;
  View<T, 2> control;
};

// Over which a value is a spike, after the window of values that begins at guard(first).
template <class T>
ENGRAM_HOST_DEVICE T spike_limit(const View<T, 1>& guard, int64_t first, double sigma) {
  T sum = 0, squares = 0;
  for (int64_t i = 0; i < kSpikeWindow; ++i) sum += guard(first + i);
  const T mean = sum / kSpikeWindow;
  for (int64_t i = 0; i < kSpikeWindow; ++i) squares += (guard(first + i) - mean) * (guard(first + i) - mean);
  return mean + sigma * std::sqrt(squares / kSpikeWindow);
}

// Records a finite step; whether it is a spike.
template <class T>
ENGRAM_HOST_DEVICE bool record_step(const View<T, 1>& guard, T loss, T norm, double sigma) {
  const auto count = static_cast<int64_t>(guard(0));
  const T values[] = {loss, norm};
  bool is_spike = false;
  for (int64_t i = 0; i < 2; ++i) {
    const int64_t first = 2 + i * kSpikeWindow;
    const T limit = count < kSpikeWindow ? values[i] : spike_limit(guard, first, sigma);
    is_spike |= values[i] > limit;
    guard(first + count % kSpikeWindow) = values[i] > limit ? limit : values[i];
  }
  guard(0) += 1;
  return is_spike;
}

// What both twins do; a handful of numbers, so that one thread does it all.
template <class T>
ENGRAM_HOST_DEVICE void control_step(const StepControl<T>& a) {
  const T loss = a.sums(0), both = a.sums(1) + a.sums(2);
  const bool is_finite = std::isfinite(loss) && std::isfinite(both);
  const bool is_spike = is_finite && record_step(a.guard, loss, std::sqrt(both), a.options.spike_sigma);
  const bool apply = is_finite && !(is_spike && a.options.skip_spikes);
  a.guard(1) = is_spike ? 1 : 0;
  for (int64_t row = 0; row < a.control.size(0); ++row) {
    a.control(row, 0) = apply ? 1 : 0;
    if (!apply) continue;
    const T norm = std::sqrt(a.options.separate ? a.sums(1 + row) : both), limit = a.options.clip_norm;
    const T scale = limit == 0 ? T(1) : limit / (norm + T(1e-6));
    const T num_updates = a.control(row, 2) + 1;
    const int64_t count = static_cast<int64_t>(num_updates), last = a.lr_ratios.size(0);
    a.control(row, 1) = scale < 1 ? scale : T(1);
    a.control(row, 2) = num_updates;
    a.control(row, 3) = a.lr_ratios((count < last ? count : last) - 1);
  }
}

template <class T>
void run(CpuQueue&, const StepControl<T>&);
template <class T>
void run(CudaQueue&, const StepControl<T>&);

}  // namespace engram
