#include "kernels/row_gather.h"

#include "kernels/core/dispatch.h"
#include "kernels/row_gather_impl.h"

namespace engram {

void row_gather(Stream& stream, const Tensor& rows, const Tensor& index, const Tensor& out) {
  check_tensor("row_gather: rows", rows, rows.dtype, {-1, -1});
  check_tensor("row_gather: index", index, DType::kInt64, {-1});
  check_tensor("row_gather: out", out, rows.dtype, {index.size(0), rows.size(1)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "row_gather", stream, rows.dtype, [&]<class T>(auto& queue) {
        run(queue, RowGather<T>{
                       .rows = view<const T, 2>(rows), .index = view<const int64_t, 1>(index), .out = view<T, 2>(out)});
      });
}

}  // namespace engram
