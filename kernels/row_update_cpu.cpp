#include <cmath>
#include <vector>

#include "kernels/cpu_math.h"
#include "kernels/row_update_impl.h"

namespace engram {
namespace {

// What the rows of one call have in common, and the factors that take the bias out of both moments of a row after
// `step` updates.
template <class T>
struct Factors {
  T lr, grad_scale, m, v;
  template <class Args>
  Factors(const Args& a, const UpdateControl& control, int64_t step)
      : lr(T(a.lr * control.lr_ratio)),
        grad_scale(T(control.grad_scale)),
        m(unbias(a.beta1, step)),
        v(unbias(a.beta2, step)) {}
  static T unbias(double beta, int64_t step) {
    return static_cast<T>(1 / (1 - std::pow(beta, static_cast<double>(step))));
  }
};

// Adam's step of one row; grad == nullptr stands for a gradient of 0.
template <class T>
void update_row(const RowUpdateAdam<T>& a, int64_t slot, const T* grad, const Factors<T> factors) {
  const T eps = T(a.eps);
  const T keep_m = T(a.beta1), take_m = T(1 - a.beta1), keep_v = T(a.beta2), take_v = T(1 - a.beta2);
  const int64_t width = a.weight.size(1);
  T *weight = a.weight.row(slot), *m = a.m.row(slot), *v = a.v.row(slot);
#pragma GCC ivdep  // four separate arrays
  for (int64_t c = 0; c < width; ++c) {
    const T g = grad == nullptr ? T(0) : grad[c] * factors.grad_scale;
    m[c] = keep_m * m[c] + take_m * g;
    v[c] = keep_v * v[c] + take_v * (g * g);
    weight[c] -= factors.lr * (m[c] * factors.m) / (std::sqrt(v[c] * factors.v) + eps);
  }
}

// mean_c(G_c^2) of one row.
template <class T>
T mean_square(const T* grad, int64_t width, T grad_scale) {
  return lane_sum<T>(width,
                     [&](int64_t c) {
                       const T g = grad[c] * grad_scale;
                       return g * g;
                     }) /
         T(width);
}

}  // namespace

template <class T>
void run(CpuQueue& queue, const RowUpdateSgd<T>& a) {
  const UpdateControl control = read_control(a.control);
  if (!control.apply) return;
  const T lr = T(a.lr * control.lr_ratio), grad_scale = T(control.grad_scale);
  queue.for_each_row(a.slots.size(0), [&](int64_t i) {
    const T* grad = a.grad.row(i);
    T* weight = a.weight.row(a.slots(i));
    for (int64_t c = 0; c < a.weight.size(1); ++c) weight[c] -= lr * (grad[c] * grad_scale);
  });
}

template <class T>
void run(CpuQueue& queue, const RowUpdateAdamLazy<T>& a) {
  const UpdateControl control = read_control(a.adam.control);
  if (!control.apply) return;
  queue.for_each_row(a.adam.slots.size(0), [&](int64_t i) {
    int32_t& count = a.count(a.adam.slots(i));
    count = next_count(count);
    update_row(a.adam, a.adam.slots(i), a.adam.grad.row(i), Factors<T>(a.adam, control, count));
  });
}

template <class T>
void run(CpuQueue& queue, const RowUpdateAdamDense<T>& a) {
  const UpdateControl control = read_control(a.adam.control);
  if (!control.apply) return;
  const Factors<T> factors(a.adam, control, control.num_updates);
  std::vector<bool> touched(static_cast<size_t>(a.adam.weight.size(0)));
  queue.for_each_row(a.adam.slots.size(0), [&](int64_t i) {
    touched[static_cast<size_t>(a.adam.slots(i))] = true;
    update_row(a.adam, a.adam.slots(i), a.adam.grad.row(i), factors);
  });
  queue.for_each_row(a.adam.weight.size(0), [&](int64_t slot) {
    if (!touched[static_cast<size_t>(slot)]) update_row(a.adam, slot, static_cast<const T*>(nullptr), factors);
  });
}

template <class T>
void run(CpuQueue& queue, const RowUpdateRowwiseAdam<T>& a) {
  const UpdateControl control = read_control(a.control);
  if (!control.apply) return;
  const T keep_m = T(a.beta1), take_m = T(1 - a.beta1), keep_v = T(a.beta2), take_v = T(1 - a.beta2);
  const int64_t width = a.weight.size(1);
  queue.for_each_row(a.slots.size(0), [&](int64_t i) {
    const int64_t slot = a.slots(i);
    const T* grad = a.grad.row(i);
    T *weight = a.weight.row(slot), *m = a.m.row(slot);
    a.count(slot) = next_count(a.count(slot));
    const Factors<T> factors(a, control, a.count(slot));
    a.v(slot) = keep_v * a.v(slot) + take_v * mean_square(grad, width, factors.grad_scale);
    const T root = std::sqrt(a.v(slot) * factors.v) + T(a.eps);
#pragma GCC ivdep  // three separate arrays
    for (int64_t c = 0; c < width; ++c) {
      m[c] = keep_m * m[c] + take_m * (grad[c] * factors.grad_scale);
      weight[c] -= factors.lr * (m[c] * factors.m) / root;
    }
  });
}

template <class T>
void run(CpuQueue& queue, const RowUpdateRowwiseAdagrad<T>& a) {
  const UpdateControl control = read_control(a.control);
  if (!control.apply) return;
  const T lr = T(a.lr * control.lr_ratio), grad_scale = T(control.grad_scale);
  const int64_t width = a.weight.size(1);
  queue.for_each_row(a.slots.size(0), [&](int64_t i) {
    const int64_t slot = a.slots(i);
    const T* grad = a.grad.row(i);
    T* weight = a.weight.row(slot);
    a.s(slot) += mean_square(grad, width, grad_scale);
    const T root = std::sqrt(a.s(slot)) + T(a.eps);
    for (int64_t c = 0; c < width; ++c) weight[c] -= lr * (grad[c] * grad_scale) / root;
  });
}

template void run(CpuQueue&, const RowUpdateSgd<float>&);
template void run(CpuQueue&, const RowUpdateSgd<double>&);
template void run(CpuQueue&, const RowUpdateAdamLazy<float>&);
template void run(CpuQueue&, const RowUpdateAdamLazy<double>&);
template void run(CpuQueue&, const RowUpdateAdamDense<float>&);
template void run(CpuQueue&, const RowUpdateAdamDense<double>&);
template void run(CpuQueue&, const RowUpdateRowwiseAdam<float>&);
template void run(CpuQueue&, const RowUpdateRowwiseAdam<double>&);
template void run(CpuQueue&, const RowUpdateRowwiseAdagrad<float>&);
template void run(CpuQueue&, const RowUpdateRowwiseAdagrad<double>&);

}  // namespace engram
