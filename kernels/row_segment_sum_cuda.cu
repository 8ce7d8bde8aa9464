#include "kernels/cuda/ordered_sum.cuh"
#include "kernels/cuda/row_packs.cuh"
#include "kernels/cuda/stream_memory.cuh"
#include "kernels/cuda/vec.cuh"
#include "kernels/row_segment_sum_impl.h"

namespace engram {
namespace {

// Values of one row that are added one after the other; see the contract.
constexpr int kRun = 64;
// Rows of a thread, and values of it that are on their way at once, whichever of these rows they belong to.
constexpr int kRows = 8;
constexpr int kAhead = 4;
// Rows that a thread may have to fold.
constexpr int kFolds = 16;

// Work in packs of kVector columns. The values of a row, one after the other in `order`, are a segment; it is cut into
// runs of kRun. Of its runs but the first, the sums lie in `partial`, where the place of the run's begin over kRun
// says: no two begin in one block of kRun values.
template <class T, int kVector>
struct Segments {
  using Values = Pack<T, kVector>;
  using Sums = Pack<Accumulator<T>, kVector>;

  const Values* values;
  const int32_t* order;
  const int32_t* offsets;
  Sums* sums;
  Sums* partial;
  int64_t* folds;  // of each block, the row whose second run begins there, or -1
  int64_t num_rows;
  int64_t num_blocks;
  int32_t width;  // packs of a row
};

template <class T, class Acc, int kVector>
__device__ void add(Pack<Acc, kVector>& sum, const Pack<T, kVector>& value) {
  const auto wide = unpack<T, kVector>(std::bit_cast<Raw<T, kVector>>(value));
#pragma unroll
  for (int c = 0; c < kVector; ++c) sum.value[c] += wide.at[c];
}

// Values that lie one after the other in `order`: those of one row, or of several.
struct Sequence {
  uint32_t begin = 0;  // the place of the first
  int count = 0;       // at most kRun
  uint64_t ends = 0;   // bit k: value k is the last that belongs to its sum
};

// Calls finish(sum) with each sum of a sequence, in turn. While kAhead of its values are on their way, so are the
// numbers of the next. Past the last value, it is read again: to ask for each whether it is there takes longer.
template <class T, int kVector, class Finish>
__device__ void add_up(const Segments<T, kVector>& a, Sequence sequence, int64_t column, Finish&& finish) {
  if (sequence.count == 0) return;
  const auto* values = a.values + column;
  const auto stride = static_cast<uint32_t>(a.width);
  const uint32_t last = sequence.begin + static_cast<uint32_t>(sequence.count) - 1;
  uint32_t number[kAhead];
  const auto read_numbers = [&](uint32_t place) {
#pragma unroll
    for (uint32_t k = 0; k < kAhead; ++k) number[k] = static_cast<uint32_t>(a.order[min(place + k, last)]);
  };
  read_numbers(sequence.begin);
  typename Segments<T, kVector>::Sums sum = {};
  for (uint32_t place = sequence.begin; place <= last; place += kAhead) {
    typename Segments<T, kVector>::Values ahead[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) ahead[k] = values[uint64_t{number[k]} * stride];
    read_numbers(place + kAhead);
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      if (place + k > last) break;
      add(sum, ahead[k]);
      if (static_cast<uint32_t>(sequence.ends >> k) & 1) {
        finish(sum);
        sum = {};
      }
    }
    sequence.ends >>= kAhead;
  }
}

// Writes the sums of the first runs of `num_rows` rows from `first` on: of one row, or of several with no more values
// in all than a run may have.
template <class T, int kVector>
__device__ void sum_first_runs(const Segments<T, kVector>& a, int64_t first, int num_rows) {
  const int32_t* offsets = a.offsets + first;
  Sequence values{.begin = static_cast<uint32_t>(offsets[0])};
  unsigned filled = 0;  // bit r: row r has values
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    const int end = min(offsets[min(row + 1, num_rows)] - offsets[0], kRun);
    if (end == values.count) continue;
    values.count = end;
    values.ends |= uint64_t{1} << (end - 1);
    filled |= 1u << row;
  }
  for (int64_t column = threadIdx.x; column < a.width; column += blockDim.x) {
    auto* sums = a.sums + first * a.width + column;
    unsigned rows = filled;
    const auto write_to_next = [&](const auto& sum) {
      sums[uint64_t{31u - __clz(rows & -rows)} * static_cast<uint32_t>(a.width)] = sum;
      rows &= rows - 1;
    };
    add_up(a, values, column, write_to_next);
    for (rows = ~filled & ((1u << num_rows) - 1); rows != 0;) write_to_next(typename Segments<T, kVector>::Sums{});
  }
}

template <class T, int kVector>
__device__ void sum_group(const Segments<T, kVector>& a, int64_t first) {
  if (first >= a.num_rows) return;
  const int64_t end = min(first + kRows, a.num_rows);
  const int step = a.offsets[end] - a.offsets[first] <= kRun ? static_cast<int>(end - first) : 1;
  for (; first < end; first += step) sum_first_runs(a, first, step);
}

// The row whose segment holds place `at`; each step reads at several places at once.
__device__ inline int64_t row_at(const int32_t* offsets, int64_t num_rows, int64_t at) {
  constexpr int kParts = 8;
  int64_t row = 0, left = num_rows;  // offsets[row] <= at < offsets[row + left]
  while (left > 1) {
    const int64_t part = (left + kParts - 1) / kParts;
    int64_t passed = 0;
#pragma unroll
    for (int k = 1; k < kParts; ++k) {
      if (k * part < left && offsets[row + k * part] <= at) passed = k * part;
    }
    row += passed;
    left = min(part, left - passed);
  }
  return row;
}

// The run, other than a row's first, that begins in a block of kRun values. Only the segment that holds the block's
// first value can have one.
template <class T, int kVector>
__device__ void sum_further_run(const Segments<T, kVector>& a, int64_t block) {
  const int64_t at = block * kRun;
  if (block >= a.num_blocks) return;
  if (threadIdx.x == 0) a.folds[block] = -1;
  if (at >= a.offsets[a.num_rows]) return;
  const int64_t row = row_at(a.offsets, a.num_rows, at), begin = a.offsets[row], end = a.offsets[row + 1];
  const int64_t run = begin + (at - begin + kRun - 1) / kRun * kRun;
  if (run == begin || run >= end) return;
  if (threadIdx.x == 0 && run == begin + kRun) a.folds[block] = row;
  const int count = static_cast<int>(min(end - run, int64_t{kRun}));
  const Sequence values{.begin = static_cast<uint32_t>(run), .count = count, .ends = uint64_t{1} << (count - 1)};
  for (int64_t column = threadIdx.x; column < a.width; column += blockDim.x)
    add_up(a, values, column, [&](const auto& sum) { a.partial[block * a.width + column] = sum; });
}

// threadIdx.x walks over the columns, threadIdx.y over what the block has: blocks of values in the first
// `num_run_blocks`, since they take longest, groups of kRows rows in the others.
template <class T, int kVector>
__global__ void __launch_bounds__(kBlockSize) segment_kernel(Segments<T, kVector> a, unsigned num_run_blocks) {
  if (blockIdx.x < num_run_blocks)
    sum_further_run(a, int64_t{blockIdx.x} * blockDim.y + threadIdx.y);
  else
    sum_group(a, (int64_t{blockIdx.x - num_run_blocks} * blockDim.y + threadIdx.y) * kRows);
}

// Adds the sums of its further runs, in order, to the sum of each row's first: one thread for one column. Which of
// threadIdx.y's kFolds blocks have a row to fold is read at once.
template <class T>
__global__ void __launch_bounds__(kBlockSize) fold_kernel(Segments<T, 1> a) {
  using Acc = Accumulator<T>;
  __shared__ Acc rings[kTermsAhead<Acc> * kBlockSize];
  const int64_t first = (int64_t{blockIdx.x} * blockDim.y + threadIdx.y) * kFolds;
  unsigned has_row = 0;
#pragma unroll
  for (int k = 0; k < kFolds; ++k) {
    if (first + k < a.num_blocks && a.folds[first + k] >= 0) has_row |= 1u << k;
  }
  for (; has_row != 0; has_row &= has_row - 1) {
    const int64_t block = first + __ffs(static_cast<int>(has_row)) - 1, row = a.folds[block];
    const int count = (a.offsets[row + 1] - a.offsets[row] - 1) / kRun;  // runs past the first
    for (int64_t column = threadIdx.x; column < a.width; column += blockDim.x) {
      Acc& sum = a.sums[row * a.width + column].value[0];
      const Acc* further = a.partial[block * a.width + column].value;
      sum = sum_in_order(sum, further, a.width, count, rings + threadIdx.y * blockDim.x + threadIdx.x);
    }
  }
}

// The same with kVector columns in a pack.
template <int kVector, class T>
Segments<T, kVector> in_packs_of(const Segments<T, 1>& a) {
  using Args = Segments<T, kVector>;
  return {.values = reinterpret_cast<const typename Args::Values*>(a.values),
          .order = a.order,
          .offsets = a.offsets,
          .sums = reinterpret_cast<typename Args::Sums*>(a.sums),
          .partial = reinterpret_cast<typename Args::Sums*>(a.partial),
          .folds = a.folds,
          .num_rows = a.num_rows,
          .num_blocks = a.num_blocks,
          .width = a.width / kVector};
}

template <int kVector, class T>
void sum_segments(CudaQueue& queue, const Segments<T, kVector>& a) {
  const dim3 threads = row_threads(a.width);
  const unsigned num_run_blocks = blocks_for(a.num_blocks, threads.y);
  const unsigned num_row_blocks = blocks_for(a.num_rows, int64_t{threads.y} * kRows);
  segment_kernel<T, kVector><<<num_run_blocks + num_row_blocks, threads, 0, queue.handle>>>(a, num_run_blocks);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

template <class T>
void fold(CudaQueue& queue, const Segments<T, 1>& a) {
  if (a.num_blocks == 0) return;
  const dim3 threads = row_threads(a.width);
  fold_kernel<T><<<blocks_for(a.num_blocks, int64_t{threads.y} * kFolds), threads, 0, queue.handle>>>(a);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const RowSegmentSum<T>& a) {
  constexpr int kVector = kPerChunk<T>;
  if (a.sums.numel() == 0) return;
  ENGRAM_CHECK(a.values.size(1) <= std::numeric_limits<int32_t>::max(), "row_segment_sum: rows of ", a.values.size(1),
               " elements, wanted fewer than 2^31");
  const int64_t num_blocks = (a.order.size(0) + kRun - 1) / kRun;
  const StreamMemory<Accumulator<T>> partial(queue, num_blocks * a.values.size(1));
  const StreamMemory<int64_t> folds(queue, num_blocks);
  const Segments<T, 1> columns{.values = reinterpret_cast<const Pack<T, 1>*>(a.values.data),
                               .order = a.order.data,
                               .offsets = a.offsets.data,
                               .sums = reinterpret_cast<Pack<Accumulator<T>, 1>*>(a.sums.data),
                               .partial = reinterpret_cast<Pack<Accumulator<T>, 1>*>(partial.data()),
                               .folds = folds.data(),
                               .num_rows = a.sums.size(0),
                               .num_blocks = num_blocks,
                               .width = static_cast<int32_t>(a.values.size(1))};
  if (in_packs<kVector>(columns.width, a.values.data) && in_packs<kVector>(columns.width, a.sums.data))
    sum_segments(queue, in_packs_of<kVector>(columns));
  else
    sum_segments(queue, columns);
  fold(queue, columns);
}

template void run(CudaQueue&, const RowSegmentSum<bfloat16>&);
template void run(CudaQueue&, const RowSegmentSum<float>&);
template void run(CudaQueue&, const RowSegmentSum<double>&);

}  // namespace engram
