#include "kernels/row_segment_sum.h"

#include "kernels/core/dispatch.h"
#include "kernels/row_segment_sum_impl.h"

namespace engram {

void row_segment_sum(Stream& stream, const Tensor& values, const RowSegments& segments, const Tensor& sums) {
  check_tensor("row_segment_sum: order", segments.order, DType::kInt32, {-1});
  check_tensor("row_segment_sum: values", values, values.dtype, {segments.order.size(0), -1});
  check_tensor("row_segment_sum: sums", sums, accumulator(values.dtype), {-1, values.size(1)});
  check_tensor("row_segment_sum: offsets", segments.offsets, DType::kInt32, {sums.size(0) + 1});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "row_segment_sum", stream, values.dtype, [&]<class T>(auto& queue) {
        run(queue, RowSegmentSum<T>{.values = view<const T, 2>(values),
                                    .order = view<const int32_t, 1>(segments.order),
                                    .offsets = view<const int32_t, 1>(segments.offsets),
                                    .sums = view<Accumulator<T>, 2>(sums)});
      });
}

}  // namespace engram
