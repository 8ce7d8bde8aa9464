#include "kernels/unique_rows.h"

#include <limits>

#include "kernels/core/dispatch.h"
#include "kernels/unique_rows_impl.h"

namespace engram {

void unique_rows(Stream& stream, const Tensor& keys, int64_t end, const Tensor& unique, const Tensor& inverse,
                 const RowSegments& segments, const Tensor& count) {
  ENGRAM_CHECK(end >= 0, "unique_rows: keys end at ", end, ", wanted 0 or more");
  check_tensor("unique_rows: keys", keys, DType::kInt64, {-1});
  ENGRAM_CHECK(keys.size(0) <= std::numeric_limits<int32_t>::max(), "unique_rows: ", keys.size(0),
               " keys, wanted fewer than 2^31");
  check_tensor("unique_rows: unique", unique, DType::kInt64, {keys.size(0)});
  check_tensor("unique_rows: inverse", inverse, DType::kInt64, {keys.size(0)});
  check_tensor("unique_rows: order", segments.order, DType::kInt32, {keys.size(0)});
  check_tensor("unique_rows: offsets", segments.offsets, DType::kInt32, {keys.size(0) + 1});
  check_tensor("unique_rows: count", count, DType::kInt64, {1});
  dispatch<Cpu<int64_t>, Cuda<int64_t>>("unique_rows", stream, keys.dtype, [&]<class T>(auto& queue) {
    run(queue, UniqueRows{.keys = view<const T, 1>(keys),
                          .end = end,
                          .unique = view<T, 1>(unique),
                          .inverse = view<T, 1>(inverse),
                          .order = view<int32_t, 1>(segments.order),
                          .offsets = view<int32_t, 1>(segments.offsets),
                          .count = view<T, 1>(count)});
  });
}

}  // namespace engram
