#include "kernels/cuda/check.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/ngram_hash.h"
#include "kernels/ngram_hash_impl.h"

namespace engram {
namespace {

constexpr int kThreads = 256;

// A token outside the map stops the kernel with an error: there is nothing right to write.
__global__ void __launch_bounds__(kThreads) compress_kernel(CompressTokens a) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= a.tokens.size(0)) return;
  const int32_t token = a.tokens(i);
  if (token != kDeadToken && (token < 0 || token >= a.map.size(0))) __trap();
  a.compressed(i) = token == kDeadToken ? kDeadToken : a.map(token);
}

// One thread a row number: it walks the window of its own order again, and writes lie side by side.
__global__ void __launch_bounds__(kThreads) hash_kernel(NgramHash a) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= a.rows.numel()) return;
  const int64_t num_columns = a.rows.size(1), position = i / num_columns, column = i % num_columns;
  const int64_t seq = a.compressed.size(1) - a.history;
  const int64_t batch = position / seq, last = a.history + position % seq, last_slot = column / a.heads + 1;
  bool blocked = false;
  uint64_t mix = 0;
  for (int64_t slot = 0; slot <= last_slot; ++slot) {
    const int64_t at = last - slot;
    blocked = blocked || at < 0 || a.compressed(batch, at) == kDeadToken;
    const auto id = static_cast<uint64_t>(blocked ? a.pad_id : a.compressed(batch, at));
    mix ^= id * static_cast<uint64_t>(a.multipliers(slot));
    blocked = blocked || (a.starts.data != nullptr && a.starts(batch, at) != 0);  // nothing before a start is seen
  }
  a.rows(position, column) = static_cast<int64_t>(mix % static_cast<uint64_t>(a.primes(column))) + a.offsets(column);
}

}  // namespace

void run(CudaQueue& queue, const CompressTokens& a) {
  if (a.tokens.numel() == 0) return;
  compress_kernel<<<blocks_for(a.tokens.numel(), kThreads), kThreads, 0, queue.handle>>>(a);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

void run(CudaQueue& queue, const NgramHash& a) {
  if (a.rows.numel() == 0) return;
  hash_kernel<<<blocks_for(a.rows.numel(), kThreads), kThreads, 0, queue.handle>>>(a);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

}  // namespace engram
