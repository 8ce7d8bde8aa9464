#include "kernels/elementwise.h"

#include <algorithm>

#include "kernels/core/dispatch.h"
#include "kernels/elementwise_impl.h"

namespace engram {
namespace {

void check_like(const char* what, const Tensor& tensor, DType dtype, const Tensor& like) {
  ENGRAM_CHECK(tensor.dtype == dtype && std::ranges::equal(tensor.shape(), like.shape()), what, ": got ",
               name_of(tensor.dtype), " ", to_string(tensor.shape()), ", wanted ", name_of(dtype), " ",
               to_string(like.shape()));
}

}  // namespace

void add(Stream& stream, const Tensor& a, const Tensor& b, const Tensor& sum) {
  check_like("add: b", b, a.dtype, a);
  check_like("add: sum", sum, a.dtype, a);
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>("add", stream, a.dtype, [&]<class T>(auto& queue) {
    run(queue, Add<T>{.a = flat_view<const T>(a), .b = flat_view<const T>(b), .sum = flat_view<T>(sum)});
  });
}

void accumulate(Stream& stream, const Tensor& x, const Tensor& y) {
  check_like("accumulate: y", y, accumulator(x.dtype), x);
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>("accumulate", stream, x.dtype, [&]<class T>(auto& queue) {
    run(queue, Accumulate<T>{.x = flat_view<const T>(x), .y = flat_view<Accumulator<T>>(y)});
  });
}

void scale(Stream& stream, double factor, const Tensor& x, const Tensor& y) {
  check_like("scale: y", y, x.dtype, x);
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>("scale", stream, x.dtype, [&]<class T>(auto& queue) {
    run(queue,
        Scale<T>{.factor = static_cast<Accumulator<T>>(factor), .x = flat_view<const T>(x), .y = flat_view<T>(y)});
  });
}

}  // namespace engram
