#include "kernels/bias_impl.h"
#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/rows.cuh"

namespace engram {
namespace {

template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) forward_kernel(AddBiasForward<T> a) {
  using Acc = Accumulator<T>;
  const int64_t row = warp_row(), width = a.x.size(1);
  if (row >= a.x.size(0)) return;
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) a.y(row, c) = T(Acc(a.x(row, c)) + Acc(a.bias(c)));
}

template <class T>
__global__ void __launch_bounds__(kWarpSize* kColumnLanes) backward_kernel(AddBiasBackward<T> a) {
  using Acc = Accumulator<T>;
  const int64_t column = block_column();
  const bool inside = column < a.dy.size(1);
  const Acc sum =
      column_sum<Acc>(inside ? a.dy.size(0) : 0, [&](int64_t row) -> Acc { return Acc(a.dy(row, column)); });
  if (inside && threadIdx.y == 0) a.dbias(column) += sum;
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const AddBiasForward<T>& a) {
  launch_rows(queue, forward_kernel<T>, a.x.size(0), a);
}

template <class T>
void run(CudaQueue& queue, const AddBiasBackward<T>& a) {
  launch_columns(queue, backward_kernel<T>, a.dy.size(1), a);
}

template void run(CudaQueue&, const AddBiasForward<bfloat16>&);
template void run(CudaQueue&, const AddBiasForward<float>&);
template void run(CudaQueue&, const AddBiasForward<double>&);
template void run(CudaQueue&, const AddBiasBackward<bfloat16>&);
template void run(CudaQueue&, const AddBiasBackward<float>&);
template void run(CudaQueue&, const AddBiasBackward<double>&);

}  // namespace engram
