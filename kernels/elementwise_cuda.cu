#include "kernels/cuda/launch.cuh"
#include "kernels/elementwise_impl.h"

namespace engram {
namespace {

template <class T>
__global__ void __launch_bounds__(kBlockSize) add_kernel(Add<T> args) {
  using Acc = Accumulator<T>;
  const int64_t i = thread_index();
  if (i < args.a.size(0)) args.sum(i) = T(Acc(args.a(i)) + Acc(args.b(i)));
}

template <class T>
__global__ void __launch_bounds__(kBlockSize) accumulate_kernel(Accumulate<T> args) {
  const int64_t i = thread_index();
  if (i < args.x.size(0)) args.y(i) += Accumulator<T>(args.x(i));
}

template <class T>
__global__ void __launch_bounds__(kBlockSize) scale_kernel(Scale<T> args) {
  const int64_t i = thread_index();
  if (i < args.x.size(0)) args.y(i) = T(args.factor * Accumulator<T>(args.x(i)));
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const Add<T>& args) {
  launch_each(queue, add_kernel<T>, args.a.size(0), args);
}

template <class T>
void run(CudaQueue& queue, const Accumulate<T>& args) {
  launch_each(queue, accumulate_kernel<T>, args.x.size(0), args);
}

template <class T>
void run(CudaQueue& queue, const Scale<T>& args) {
  launch_each(queue, scale_kernel<T>, args.x.size(0), args);
}

template void run(CudaQueue&, const Add<bfloat16>&);
template void run(CudaQueue&, const Add<float>&);
template void run(CudaQueue&, const Add<double>&);
template void run(CudaQueue&, const Accumulate<bfloat16>&);
template void run(CudaQueue&, const Accumulate<float>&);
template void run(CudaQueue&, const Accumulate<double>&);
template void run(CudaQueue&, const Scale<bfloat16>&);
template void run(CudaQueue&, const Scale<float>&);
template void run(CudaQueue&, const Scale<double>&);

}  // namespace engram
