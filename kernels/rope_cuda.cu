#include "kernels/cuda/launch.cuh"
#include "kernels/rope_impl.h"

namespace engram {
namespace {

template <class T>
__global__ void __launch_bounds__(kBlockSize) table_kernel(RopeTable<T> a) {
  const int64_t i = thread_index(), half = a.table.size(1);
  if (i >= a.table.size(0) * half) return;
  const int64_t position = i / half, c = i % half;
  const double angle = double(position) * pow(a.theta, -double(c) / double(half));
  a.table(position, c, 0) = T(cos(angle));
  a.table(position, c, 1) = T(sin(angle));
}

// One thread a pair of channels.
template <class T>
__global__ void __launch_bounds__(kBlockSize) turn_kernel(Rope<T> a) {
  using Acc = Accumulator<T>;
  const int64_t i = thread_index(), head_dim = a.x.size(3), half = head_dim / 2;
  if (i >= a.x.numel() / 2) return;
  const int64_t head = i / half, c = i % half;  // heads of all positions counted together
  const int64_t position = head / a.x.size(2) % a.x.size(1);
  const Acc cosine = a.table(position, c, 0), angle_sine = a.table(position, c, 1);
  const Acc sine = a.backward ? -angle_sine : angle_sine;
  const Acc low = Acc(a.x.data[head * head_dim + c]), high = Acc(a.x.data[head * head_dim + c + half]);
  a.y.data[head * head_dim + c] = T(low * cosine - high * sine);
  a.y.data[head * head_dim + c + half] = T(low * sine + high * cosine);
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const RopeTable<T>& a) {
  launch_each(queue, table_kernel<T>, a.table.numel() / 2, a);
}

template <class T>
void run(CudaQueue& queue, const Rope<T>& a) {
  launch_each(queue, turn_kernel<T>, a.x.numel() / 2, a);
}

template void run(CudaQueue&, const RopeTable<float>&);
template void run(CudaQueue&, const RopeTable<double>&);
template void run(CudaQueue&, const Rope<bfloat16>&);
template void run(CudaQueue&, const Rope<float>&);
template void run(CudaQueue&, const Rope<double>&);

}  // namespace engram
