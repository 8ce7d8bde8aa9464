#include <cub/device/device_radix_sort.cuh>
#include <limits>

#include "kernels/cuda/resources.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/vec.cuh"
#include "kernels/embedding_impl.h"

namespace engram {
namespace {

// One warp a row of `width` units, which are elements or chunks.
template <class Unit>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    forward_kernel(View<const int32_t, 1> tokens, const Unit* table, int64_t width, Unit* y) {
  const int64_t i = warp_row();
  if (i >= tokens.size(0)) return;
  const Unit* from = table + tokens(i) * width;
#pragma unroll 4
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) y[i * width + c] = from[c];
}

// Positions sorted by their token, equal tokens in the order of position.
struct Sorted {
  const int32_t* token;
  const int32_t* position;
};

__global__ void __launch_bounds__(kBlockSize) count_up_kernel(View<int32_t, 1> positions) {
  const int64_t i = thread_index();
  if (i < positions.size(0)) positions(i) = static_cast<int32_t>(i);
}

// Token ids lie in [0, num_rows), so that the low bits of unsigned keys are enough. Takes scratch memory behind `used`.
Sorted sort(CudaQueue& queue, const View<const int32_t, 1>& tokens, int64_t num_rows, int64_t& used) {
  const int64_t count = tokens.size(0);
  ENGRAM_CHECK(count <= std::numeric_limits<int32_t>::max(), "embedding: ", count, " tokens; wanted fewer than 2^31");
  int num_bits = 1;
  while ((int64_t{1} << num_bits) < num_rows) ++num_bits;
  const View<int32_t, 1> positions{scratch<int32_t>(queue, count, used), {count}};
  auto* sorted_token = scratch<uint32_t>(queue, count, used);
  auto* sorted_position = scratch<int32_t>(queue, count, used);
  launch_each(queue, count_up_kernel, count, positions);
  const auto* keys = reinterpret_cast<const uint32_t*>(tokens.data);
  const auto radix_sort = [&](void* memory, size_t& num_bytes) {
    ENGRAM_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(memory, num_bytes, keys, sorted_token, positions.data,
                                                      sorted_position, static_cast<int>(count), 0, num_bits,
                                                      queue.handle));
  };
  size_t num_bytes = 0;
  radix_sort(nullptr, num_bytes);
  radix_sort(scratch<char>(queue, static_cast<int64_t>(num_bytes), used), num_bytes);
  return {reinterpret_cast<const int32_t*>(sorted_token), sorted_position};
}

// The sorted entries are cut into tiles. A block adds up each run of equal tokens in its tile; what belongs to a run
// that goes on in another tile becomes a partial sum: the tile's `head` where the run began in an earlier tile, its
// `tail` where it begins here. Whoever has the tail then adds the heads behind it. So hot tokens keep many blocks busy,
// and the order of the additions depends on the tokens alone.
constexpr int kColumnThreads = 128;
constexpr int kTile = 64;
constexpr int kRowsAhead = 8;

template <class T>
struct Runs {
  EmbeddingBackward<T> a;
  Sorted sorted;
  Accumulator<T>* partial;  // [tiles, 2, width]: head and tail

  __device__ int64_t count() const { return a.tokens.size(0); }
  __device__ bool joined(int64_t i) const {  // entry i continues the run of the one before it
    return i > 0 && i < count() && sorted.token[i - 1] == sorted.token[i];
  }
  __device__ Accumulator<T>* part(int64_t tile, int which) const { return partial + (2 * tile + which) * a.dy.size(1); }
};

// N elements of a column's sum, added to the table or written to a partial sum.
template <class Acc, int N>
__device__ void add_to(Acc* to, const Acc (&sum)[N]) {
  for (int j = 0; j < N; ++j) to[j] += sum[j];
}
template <class Acc, int N>
__device__ void write_to(Acc* to, const Acc (&sum)[N]) {
  for (int j = 0; j < N; ++j) to[j] = sum[j];
}

template <class T, int N>
__global__ void __launch_bounds__(kColumnThreads) tile_kernel(Runs<T> runs) {
  using Acc = Accumulator<T>;
  const int64_t tile = blockIdx.x, begin = tile * kTile, end = min(begin + kTile, runs.count());
  const int64_t width = runs.a.dy.size(1);
  __shared__ int32_t token[kTile], position[kTile];
  for (int i = threadIdx.x; i < end - begin; i += kColumnThreads) {
    token[i] = runs.sorted.token[begin + i];
    position[i] = runs.sorted.position[begin + i];
  }
  __syncthreads();
  const int num_entries = static_cast<int>(end - begin);
  const bool from_before = runs.joined(begin), goes_on = runs.joined(end);
  for (int64_t c = int64_t{threadIdx.x} * N; c < width; c += kColumnThreads * N) {
    Acc sum[N] = {};
    int run_begin = 0;
    for (int first = 0; first < num_entries; first += kRowsAhead) {
      Raw<T, N> rows[kRowsAhead];
#pragma unroll
      for (int i = 0; i < kRowsAhead; ++i) {
        if (first + i < num_entries) rows[i] = load_raw<T, N>(runs.a.dy.row(position[first + i]) + c);
      }
#pragma unroll
      for (int i = 0; i < kRowsAhead; ++i) {
        const int entry = first + i;
        if (entry >= num_entries) break;
        const auto row = unpack<T, N>(rows[i]);
        for (int j = 0; j < N; ++j) sum[j] += row.at[j];
        const bool last = entry + 1 == num_entries;
        if (!last && token[entry] == token[entry + 1]) continue;
        if (run_begin == 0 && from_before) {
          write_to(runs.part(tile, 0) + c, sum);
        } else if (last && goes_on) {
          write_to(runs.part(tile, 1) + c, sum);
        } else {
          add_to(runs.a.dtable.row(token[entry]) + c, sum);
        }
        for (int j = 0; j < N; ++j) sum[j] = 0;
        run_begin = entry + 1;
      }
    }
  }
}

// One block a tile: completes the run that begins in it and goes on.
template <class T>
__global__ void __launch_bounds__(kColumnThreads) join_kernel(Runs<T> runs) {
  const int64_t tile = blockIdx.x, begin = tile * kTile, next = begin + kTile, width = runs.a.dy.size(1);
  if (!runs.joined(next)) return;
  const int32_t token = runs.sorted.token[next];
  if (runs.joined(begin) && runs.sorted.token[begin] == token) return;  // it began earlier
  int64_t last = tile + 1;
  while (runs.joined((last + 1) * kTile) && runs.sorted.token[last * kTile] == runs.sorted.token[(last + 1) * kTile])
    ++last;
  for (int64_t c = threadIdx.x; c < width; c += kColumnThreads) {
    Accumulator<T> sum = runs.part(tile, 1)[c];
#pragma unroll 8
    for (int64_t other = tile + 1; other <= last; ++other) sum += runs.part(other, 0)[c];
    runs.a.dtable.row(token)[c] += sum;
  }
}

template <class Unit, class T>
void launch_forward(CudaQueue& queue, const EmbeddingForward<T>& a) {
  const int64_t width = a.table.size(1) * static_cast<int64_t>(sizeof(T)) / static_cast<int64_t>(sizeof(Unit));
  launch_rows(queue, forward_kernel<Unit>, a.tokens.size(0), a.tokens, reinterpret_cast<const Unit*>(a.table.data),
              width, reinterpret_cast<Unit*>(a.y.data));
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const EmbeddingForward<T>& a) {
  if (a.y.numel() == 0) return;
  const int64_t row_bytes = a.table.size(1) * static_cast<int64_t>(sizeof(T));
  if (in_chunks(row_bytes, a.table.data, a.y.data)) return launch_forward<Chunk>(queue, a);
  launch_forward<T>(queue, a);
}

template <class T>
void run(CudaQueue& queue, const EmbeddingBackward<T>& a) {
  if (a.dy.numel() == 0) return;
  const int64_t width = a.dy.size(1);
  const unsigned num_tiles = blocks_for(a.tokens.size(0), kTile);
  int64_t used = 0;
  auto* partial = scratch<Accumulator<T>>(queue, int64_t{2} * num_tiles * width, used);
  const Runs<T> runs{a, sort(queue, a.tokens, a.dtable.size(0), used), partial};
  with_access<T>(in_chunks(width * static_cast<int64_t>(sizeof(T)), a.dy.data), [&]<int N>() {
    tile_kernel<T, N><<<num_tiles, kColumnThreads, 0, queue.handle>>>(runs);
    ENGRAM_CUDA_CHECK(cudaGetLastError());
  });
  join_kernel<T><<<num_tiles, kColumnThreads, 0, queue.handle>>>(runs);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

template void run(CudaQueue&, const EmbeddingForward<bfloat16>&);
template void run(CudaQueue&, const EmbeddingForward<float>&);
template void run(CudaQueue&, const EmbeddingForward<double>&);
template void run(CudaQueue&, const EmbeddingBackward<bfloat16>&);
template void run(CudaQueue&, const EmbeddingBackward<float>&);
template void run(CudaQueue&, const EmbeddingBackward<double>&);

}  // namespace engram
