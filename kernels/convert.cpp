#include "kernels/convert.h"

#include <algorithm>

#include "kernels/convert_impl.h"
#include "kernels/core/dispatch.h"

namespace engram {

void convert(Stream& stream, const Tensor& x, const Tensor& y) {
  const DType other = x.dtype == DType::kFloat32 ? DType::kBFloat16 : DType::kFloat32;
  ENGRAM_CHECK(y.dtype == other && std::ranges::equal(x.shape(), y.shape()), "convert: y: got ", name_of(y.dtype), " ",
               to_string(y.shape()), ", wanted ", name_of(other), " ", to_string(x.shape()));
  dispatch<Cpu<bfloat16, float>, Cuda<bfloat16, float>>("convert", stream, x.dtype, [&]<class T>(auto& queue) {
    run(queue, Convert<T>{.x = flat_view<const T>(x), .y = flat_view<typename Convert<T>::Other>(y)});
  });
}

}  // namespace engram
