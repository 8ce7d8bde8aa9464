#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/vec.cuh"
#include "kernels/row_gather_impl.h"

namespace engram {
namespace {

// One warp a row of `width` units, which are elements or chunks.
template <class Unit>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    gather_kernel(const Unit* rows, View<const int64_t, 1> index, int64_t width, Unit* out) {
  const int64_t i = warp_row();
  if (i >= index.size(0)) return;
  const int64_t row = index(i);
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize)
    out[i * width + c] = row < 0 ? Unit{} : rows[row * width + c];
}

template <class Unit, class T>
void gather(CudaQueue& queue, const RowGather<T>& a) {
  const int64_t width = a.rows.size(1) * static_cast<int64_t>(sizeof(T)) / static_cast<int64_t>(sizeof(Unit));
  launch_rows(queue, gather_kernel<Unit>, a.index.size(0), reinterpret_cast<const Unit*>(a.rows.data), a.index, width,
              reinterpret_cast<Unit*>(a.out.data));
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const RowGather<T>& a) {
  const int64_t row_bytes = a.rows.size(1) * static_cast<int64_t>(sizeof(T));
  if (in_chunks(row_bytes, a.rows.data, a.out.data)) return gather<Chunk>(queue, a);
  gather<T>(queue, a);
}

template void run(CudaQueue&, const RowGather<bfloat16>&);
template void run(CudaQueue&, const RowGather<float>&);
template void run(CudaQueue&, const RowGather<double>&);

}  // namespace engram
