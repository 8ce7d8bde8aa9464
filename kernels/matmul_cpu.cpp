#include "kernels/cpu_gemm.h"
#include "kernels/matmul_impl.h"

namespace engram {

template <class T, class Out>
void run(CpuQueue&, const Matmul<T, Out>& a) {
  gemm(Gemm<T>{.m = a.c.size(0),
               .n = a.c.size(1),
               .k = a.a.size(a.transpose_a ? 0 : 1),
               .a = a.a.data,
               .a_stride = a.a.size(1),
               .b = a.b.data,
               .b_stride = a.b.size(1),
               .c = a.c.data,
               .c_stride = a.c.size(1),
               .transpose_a = a.transpose_a,
               .transpose_b = a.transpose_b,
               .beta = T(a.accumulate ? 1 : 0)});
}

template void run(CpuQueue&, const Matmul<float, float>&);
template void run(CpuQueue&, const Matmul<double, double>&);

}  // namespace engram
