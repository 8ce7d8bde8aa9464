#include "kernels/cpu_gemm.h"

#include <cblas.h>
#include <openblas_config.h>

#include <algorithm>

#include "kernels/core/check.h"

namespace engram {
namespace {

void multiply(const Gemm<float>& g, CBLAS_TRANSPOSE op_a, CBLAS_TRANSPOSE op_b) {
  cblas_sgemm(CblasRowMajor, op_a, op_b, static_cast<int>(g.m), static_cast<int>(g.n), static_cast<int>(g.k), g.alpha,
              g.a, static_cast<int>(g.a_stride), g.b, static_cast<int>(g.b_stride), g.beta, g.c,
              static_cast<int>(g.c_stride));
}

void multiply(const Gemm<double>& g, CBLAS_TRANSPOSE op_a, CBLAS_TRANSPOSE op_b) {
  cblas_dgemm(CblasRowMajor, op_a, op_b, static_cast<int>(g.m), static_cast<int>(g.n), static_cast<int>(g.k), g.alpha,
              g.a, static_cast<int>(g.a_stride), g.b, static_cast<int>(g.b_stride), g.beta, g.c,
              static_cast<int>(g.c_stride));
}

template <class T>
void scale_rows(const Gemm<T>& g) {
  for (int64_t row = 0; row < g.m; ++row) {
    T* c = g.c + row * g.c_stride;
    if (g.beta == 0)
      std::fill(c, c + g.n, T(0));
    else
      std::transform(c, c + g.n, c, [&](T value) { return g.beta * value; });
  }
}

template <class T>
void run_gemm(const Gemm<T>& g) {
  [[maybe_unused]] static const bool one_thread = (openblas_set_num_threads(1), true);
  const int64_t largest = std::max({g.m, g.n, g.k, g.a_stride, g.b_stride, g.c_stride});
  ENGRAM_CHECK(largest <= INT32_MAX, "gemm: a size of ", largest, "; BLAS takes at most ", INT32_MAX);
  if (g.m == 0 || g.n == 0) return;
  if (g.k == 0) return scale_rows(g);
  multiply(g, g.transpose_a ? CblasTrans : CblasNoTrans, g.transpose_b ? CblasTrans : CblasNoTrans);
}

}  // namespace

void gemm(const Gemm<float>& args) { run_gemm(args); }
void gemm(const Gemm<double>& args) { run_gemm(args); }

LibraryVersion openblas_version() { return library_version("OpenBLAS", OPENBLAS_VERSION, openblas_get_config()); }

}  // namespace engram
