#include "kernels/cuda/total.cuh"
#include "kernels/global_norm_impl.h"

namespace engram {
namespace {

struct Square {
  __device__ double operator()(double x) const { return x * x; }
};

}  // namespace

template <class T>
void run(CudaQueue& queue, const SumOfSquares<T>& a) {
  add_total(queue, a.x, Square{}, a.total.data);
}

template void run(CudaQueue&, const SumOfSquares<bfloat16>&);
template void run(CudaQueue&, const SumOfSquares<float>&);
template void run(CudaQueue&, const SumOfSquares<double>&);

}  // namespace engram
