#include "kernels/random_fill.h"

#include "kernels/core/dispatch.h"
#include "kernels/random_fill_impl.h"

namespace engram {

void fill_normal(Stream& stream, const Tensor& values, const RandomFill& fill) {
  dispatch<Cpu<bfloat16, float, double>, Cuda<bfloat16, float, double>>(
      "fill_normal", stream, values.dtype,
      [&]<class T>(auto& queue) { run(queue, FillNormal<T>{.values = flat_view<T>(values), .fill = fill}); });
}

}  // namespace engram
