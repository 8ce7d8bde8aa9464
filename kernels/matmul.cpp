#include "kernels/matmul.h"

#include "kernels/core/dispatch.h"
#include "kernels/matmul_impl.h"

namespace engram {

void matmul(Stream& stream, const Tensor& a, const Tensor& b, const Tensor& c, const MatmulOptions& options) {
  check_tensor("matmul: a", a, a.dtype, {-1, -1});
  check_tensor("matmul: b", b, a.dtype, {-1, -1});
  const int64_t m = a.size(options.transpose_a ? 1 : 0), k = a.size(options.transpose_a ? 0 : 1);
  const int64_t n = b.size(options.transpose_b ? 0 : 1), k_of_b = b.size(options.transpose_b ? 1 : 0);
  ENGRAM_CHECK(k == k_of_b, "matmul: op(a) is [", m, ", ", k, "] and op(b) is [", k_of_b, ", ", n,
               "]; the inner sizes must be equal");
  check_tensor("matmul: c", c, c.dtype == a.dtype ? a.dtype : accumulator(a.dtype), {m, n});
  describe_op(stream, {m, n, k}, 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k));
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>("matmul", stream, a.dtype, [&]<class T>(auto& queue) {
    const auto run_into = [&]<class Out>(View<Out, 2> result) {
      run(queue, Matmul<T, Out>{.a = view<const T, 2>(a),
                                .b = view<const T, 2>(b),
                                .c = result,
                                .transpose_a = options.transpose_a,
                                .transpose_b = options.transpose_b,
                                .accumulate = options.accumulate});
    };
    if (c.dtype == a.dtype) return run_into(view<T, 2>(c));
    if constexpr (!std::is_same_v<T, Accumulator<T>>) run_into(view<Accumulator<T>, 2>(c));
  });
}

}  // namespace engram
