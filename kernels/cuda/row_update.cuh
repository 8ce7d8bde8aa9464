#pragma once

#include <cmath>

#include "kernels/cuda/row_packs.cuh"
#include "kernels/cuda/vec.cuh"
#include "kernels/row_update_impl.h"

// What the kernels of row updates share. A thread takes packs of kVector columns of kRowsPerThread rows, and all that
// it reads of them is on its way at once.
namespace engram {

// Pack `number` of a row.
template <int kVector, class T>
__device__ Pack<T, kVector>& pack_of(T* row, int64_t number) {
  return reinterpret_cast<Pack<T, kVector>*>(row)[number];
}
template <int kVector, class T>
__device__ const Pack<T, kVector>& pack_of(const T* row, int64_t number) {
  return reinterpret_cast<const Pack<T, kVector>*>(row)[number];
}

// Factors that take the bias out of both moments.
template <class T>
struct Unbias {
  Accumulator<T> m, v;
};

// What a row of its own number of updates is multiplied by: 1 / (1 - beta^count) by way of logarithms, since powers in
// double would take longer than the memory.
template <class T>
struct RowUnbias {
  double log_beta1, log_beta2;

  template <class Args>
  explicit RowUnbias(const Args& a) : log_beta1(std::log(a.beta1)), log_beta2(std::log(a.beta2)) {}
  __device__ Unbias<T> of(int32_t count) const { return {factor(log_beta1, count), factor(log_beta2, count)}; }
  static __device__ Accumulator<T> factor(double log_beta, int32_t count) {
    return -1 / expm1(static_cast<Accumulator<T>>(count * log_beta));
  }
};

// Calls fn.operator()<kVector>() with the columns of a pack: as many as 16 bytes hold of the wider type where rows of
// all arrays are so aligned, or one.
template <class T, class Fn, class... Arrays>
void with_packs(int64_t width, Fn&& fn, const T* weight, const Arrays*... arrays) {
  constexpr int kVector = kPerChunk<Accumulator<T>>;
  if (in_packs<kVector>(width, weight) && in_packs<kVector>(width, arrays...)) return fn.template operator()<kVector>();
  fn.template operator()<1>();
}

}  // namespace engram
