#pragma once

#include <cstdint>

#include "kernels/core/library_version.h"

namespace engram {

// Operands of c = alpha * op(a) op(b) + beta * c for host memory, all row-major. op(a) is [m, k], op(b) is [k, n],
// c is [m, n]. A stride is the distance in elements between two rows of the matrix as it is stored.
template <class T>
struct Gemm {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  const T* a = nullptr;  // stored [m, k], or [k, m] where transpose_a
  int64_t a_stride = 0;
  const T* b = nullptr;  // stored [k, n], or [n, k] where transpose_b
  int64_t b_stride = 0;
  T* c = nullptr;
  int64_t c_stride = 0;
  bool transpose_a = false;
  bool transpose_b = false;
  T alpha = 1;
  T beta = 0;  // where 0, c is not read
};

// Runs on the calling thread alone: the first call sets OpenBLAS to one thread, because on the CPU ranks are the
// parallelism. m, n, k may be 0; with k == 0 the product is 0. The same operands give the same bits. For *_cpu.cpp.
void gemm(const Gemm<float>& args);
void gemm(const Gemm<double>& args);

LibraryVersion openblas_version();

}  // namespace engram
