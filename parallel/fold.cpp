#include "parallel/fold.h"

#include <algorithm>
#include <type_traits>

#include "kernels/core/check.h"

namespace engram {
namespace {

// Integers wrap instead of overflowing.
template <class T>
using Summand = typename std::conditional_t<std::is_integral_v<T>, std::make_unsigned<T>, std::type_identity<T>>::type;

// Block by block, so that the running sum stays in cache and may overwrite a part.
template <class T>
void fold(std::span<const void* const> parts, void* sum, int64_t num_elements) {
  constexpr int64_t kBlock = 1024;
  Summand<T> block[kBlock];
  for (int64_t begin = 0; begin < num_elements; begin += kBlock) {
    const int64_t count = std::min(kBlock, num_elements - begin);
    const auto* first = static_cast<const Summand<T>*>(parts[0]) + begin;
    std::copy(first, first + count, block);
    for (const void* part : parts.subspan(1)) {
      const auto* values = static_cast<const Summand<T>*>(part) + begin;
      for (int64_t i = 0; i < count; ++i) block[i] += values[i];
    }
    std::copy(block, block + count, static_cast<Summand<T>*>(sum) + begin);
  }
}

}  // namespace

void fold_sum(DType dtype, std::span<const void* const> parts, void* sum, int64_t num_elements) {
  switch (dtype) {
    case DType::kFloat32:
      return fold<float>(parts, sum, num_elements);
    case DType::kFloat64:
      return fold<double>(parts, sum, num_elements);
    case DType::kInt32:
      return fold<int32_t>(parts, sum, num_elements);
    case DType::kInt64:
      return fold<int64_t>(parts, sum, num_elements);
    case DType::kBFloat16:
    case DType::kUInt8:
      break;
  }
  ENGRAM_FAIL("fold_sum: no sum of ", name_of(dtype), " on the host");
}

}  // namespace engram
