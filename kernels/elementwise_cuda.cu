#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vec.cuh"
#include "kernels/elementwise_impl.h"

namespace engram {
namespace {

// Each thread has N elements side by side; they are as many as fill all threads.

template <class T, int N>
__global__ void __launch_bounds__(kBlockSize) add_kernel(Add<T> args) {
  const int64_t i = thread_index() * N;
  if (i >= args.a.size(0)) return;
  Values<T, N> sum = load<T, N>(args.a.data + i);
  const Values<T, N> b = load<T, N>(args.b.data + i);
  for (int j = 0; j < N; ++j) sum.at[j] += b.at[j];
  store<T, N>(args.sum.data + i, sum);
}

template <class T, int N>
__global__ void __launch_bounds__(kBlockSize) accumulate_kernel(Accumulate<T> args) {
  using Acc = Accumulator<T>;
  const int64_t i = thread_index() * N;
  if (i >= args.x.size(0)) return;
  Values<Acc, N> y = load<Acc, N>(args.y.data + i);
  const Values<T, N> x = load<T, N>(args.x.data + i);
  for (int j = 0; j < N; ++j) y.at[j] += x.at[j];
  store<Acc, N>(args.y.data + i, y);
}

template <class T, int N>
__global__ void __launch_bounds__(kBlockSize) scale_kernel(Scale<T> args) {
  const int64_t i = thread_index() * N;
  if (i >= args.x.size(0)) return;
  Values<T, N> y = load<T, N>(args.x.data + i);
  for (int j = 0; j < N; ++j) y.at[j] *= args.factor;
  store<T, N>(args.y.data + i, y);
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const Add<T>& args) {
  const int64_t count = args.a.size(0);
  with_access<T>(in_chunks(count * static_cast<int64_t>(sizeof(T)), args.a.data, args.b.data, args.sum.data),
                 [&]<int N>() { launch_each(queue, add_kernel<T, N>, count / N, args); });
}

template <class T>
void run(CudaQueue& queue, const Accumulate<T>& args) {
  using Acc = Accumulator<T>;
  const int64_t count = args.x.size(0);
  with_access<Acc>(in_chunks(count * static_cast<int64_t>(sizeof(Acc)), args.x.data, args.y.data),
                   [&]<int N>() { launch_each(queue, accumulate_kernel<T, N>, count / N, args); });
}

template <class T>
void run(CudaQueue& queue, const Scale<T>& args) {
  const int64_t count = args.x.size(0);
  with_access<T>(in_chunks(count * static_cast<int64_t>(sizeof(T)), args.x.data, args.y.data),
                 [&]<int N>() { launch_each(queue, scale_kernel<T, N>, count / N, args); });
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
