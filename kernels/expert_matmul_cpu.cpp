#include "kernels/core/check.h"
#include "kernels/cpu_gemm.h"
#include "kernels/expert_matmul_impl.h"

namespace engram {
namespace {

// Calls body(expert, first row, number of rows) for every expert that has rows.
template <class Body>
void for_each_group(const View<const int64_t, 1>& offsets, int64_t num_rows, Body&& body) {
  const int64_t num_experts = offsets.size(0) - 1;
  ENGRAM_CHECK(offsets(0) == 0 && offsets(num_experts) == num_rows, "expert_matmul: offsets span ", offsets(0), " to ",
               offsets(num_experts), "; wanted 0 to ", num_rows);
  for (int64_t e = 0; e < num_experts; ++e) {
    const int64_t begin = offsets(e), count = offsets(e + 1) - begin;
    ENGRAM_CHECK(count >= 0, "expert_matmul: offsets fall from ", begin, " to ", offsets(e + 1), " at expert ", e);
    if (count > 0) body(e, begin, count);
  }
}

}  // namespace

template <class T>
void run(CpuQueue&, const ExpertMatmulForward<T>& a) {
  const int64_t out = a.weight.size(1), in = a.weight.size(2);
  for_each_group(a.offsets, a.x.size(0), [&](int64_t expert, int64_t begin, int64_t count) {
    gemm(Gemm<T>{.m = count,
                 .n = out,
                 .k = in,
                 .a = a.x.row(begin),
                 .a_stride = in,
                 .b = a.weight.row(expert),
                 .b_stride = in,
                 .c = a.y.row(begin),
                 .c_stride = out,
                 .transpose_b = true});
  });
}

template <class T>
void run(CpuQueue&, const ExpertMatmulBackwardInput<T>& a) {
  const int64_t out = a.weight.size(1), in = a.weight.size(2);
  for_each_group(a.offsets, a.dy.size(0), [&](int64_t expert, int64_t begin, int64_t count) {
    gemm(Gemm<T>{.m = count,
                 .n = in,
                 .k = out,
                 .a = a.dy.row(begin),
                 .a_stride = out,
                 .b = a.weight.row(expert),
                 .b_stride = in,
                 .c = a.dx.row(begin),
                 .c_stride = in});
  });
}

template <class T>
void run(CpuQueue&, const ExpertMatmulBackwardWeight<T>& a) {
  const int64_t out = a.dweight.size(1), in = a.dweight.size(2);
  for_each_group(a.offsets, a.x.size(0), [&](int64_t expert, int64_t begin, int64_t count) {
    gemm(Gemm<T>{.m = out,
                 .n = in,
                 .k = count,
                 .a = a.dy.row(begin),
                 .a_stride = out,
                 .b = a.x.row(begin),
                 .b_stride = in,
                 .c = a.dweight.row(expert),
                 .c_stride = in,
                 .transpose_a = true,
                 .beta = 1});
  });
}

template void run(CpuQueue&, const ExpertMatmulForward<float>&);
template void run(CpuQueue&, const ExpertMatmulForward<double>&);
template void run(CpuQueue&, const ExpertMatmulBackwardInput<float>&);
template void run(CpuQueue&, const ExpertMatmulBackwardInput<double>&);
template void run(CpuQueue&, const ExpertMatmulBackwardWeight<float>&);
template void run(CpuQueue&, const ExpertMatmulBackwardWeight<double>&);

}  // namespace engram
