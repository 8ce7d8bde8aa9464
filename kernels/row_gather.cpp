#include "kernels/row_gather.h"

#include "kernels/core/dispatch.h"
#include "kernels/row_gather_impl.h"

namespace engram {
namespace {

template <class T, class Out>
RowGather<T, Out> arguments(const Tensor& rows, const Tensor& index, const Tensor& out) {
  return {.rows = view<const T, 2>(rows), .index = view<const int64_t, 1>(index), .out = view<Out, 2>(out)};
}

}  // namespace

void row_gather(Stream& stream, const Tensor& rows, const Tensor& index, const Tensor& out) {
  const bool rounds = rows.dtype == DType::kFloat32 && out.dtype == DType::kBFloat16;
  check_tensor("row_gather: rows", rows, rows.dtype, {-1, -1});
  check_tensor("row_gather: index", index, DType::kInt64, {-1});
  check_tensor("row_gather: out", out, rounds ? out.dtype : rows.dtype, {index.size(0), rows.size(1)});
  if (rounds) {
    return dispatch<Cpu<float>, Cuda<float>>("row_gather", stream, rows.dtype, [&]<class T>(auto& queue) {
      run(queue, arguments<T, bfloat16>(rows, index, out));
    });
  }
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "row_gather", stream, rows.dtype, [&]<class T>(auto& queue) { run(queue, arguments<T, T>(rows, index, out)); });
}

}  // namespace engram
