#pragma once

#include <algorithm>

#include "kernels/core/view.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/resources.cuh"
#include "kernels/cuda/vec.cuh"

namespace engram {

// Blocks of add_total's first kernel; their partial sums fit one block of the second.
constexpr int64_t kMaxPartials = 1024;

// Each thread adds up N elements side by side at a time, at once where they are aligned and all there.
template <class Term, class T>
__global__ void __launch_bounds__(kBlockSize)
    partial_kernel(View<const T, 1> x, bool aligned, Term term, double* partial) {
  constexpr int N = kPerChunk<T>;
  double sum = 0;
  const int64_t step = int64_t{gridDim.x} * kBlockSize * N, whole = aligned ? x.size(0) / N * N : 0;
  int64_t i = thread_index() * N;
#pragma unroll 4
  for (; i < whole; i += step) {
    const Values<T, N> values = load<T, N>(x.data + i);
    for (int j = 0; j < N; ++j) sum += term(double(values.at[j]));
  }
  for (; i < x.size(0); i += step) {
    for (int64_t j = i; j < min(i + N, x.size(0)); ++j) sum += term(double(Accumulator<T>(x(j))));
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// One block. A static function: this header is in several translation units.
static __global__ void __launch_bounds__(kMaxPartials) total_kernel(const double* partial, int count, double* total) {
  const double sum = block_sum(static_cast<int>(threadIdx.x) < count ? partial[threadIdx.x] : 0.0);
  if (threadIdx.x == 0) *total += sum;
}

// total += sum over x of term(element), in double, in an order that depends on the number of elements alone.
template <class Term, class T>
void add_total(CudaQueue& queue, const View<const T, 1>& x, Term term, double* total) {
  if (x.size(0) == 0) return;
  const int64_t num_blocks = std::min<int64_t>(blocks_for(x.size(0), 8 * kBlockSize), kMaxPartials);
  int64_t used = 0;
  double* partial = scratch<double>(queue, num_blocks, used);
  partial_kernel<<<static_cast<unsigned>(num_blocks), kBlockSize, 0, queue.handle>>>(x, in_chunks(0, x.data), term,
                                                                                     partial);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
  total_kernel<<<1, kMaxPartials, 0, queue.handle>>>(partial, static_cast<int>(num_blocks), total);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

}  // namespace engram
