#include "kernels/cuda/row_update.cuh"

namespace engram {
namespace {

constexpr int kSums = 4;  // of a row's partial sums: the additions of one wait for each other, and round as often

// Calls finish(place in the block, row, mean_c(G_c^2)) for each row of the block, by one of its threads, and returns
// when that is done. All threads of the block call it.
template <int kVector, class Acc, class Finish>
__device__ void with_mean_squares(const View<const Acc, 2>& grad, Acc scale, Finish&& finish) {
  __shared__ Acc partial[kRowsPerThread * 2 * kBlockSize];  // of each thread and row; rows begin in different banks
  const int64_t num_rows = grad.size(0), width = grad.size(1);
  const auto columns = static_cast<int>(blockDim.x), stride = columns + 1;
  for_each_thread_row(num_rows, [&](int u, int64_t row) {
    Acc sum = 0;
    for (int64_t i = threadIdx.x; i < width / kVector; i += columns) {
      const auto g = pack_of<kVector>(grad.row(row), i);
#pragma unroll
      for (int c = 0; c < kVector; ++c) sum += (g.value[c] * scale) * (g.value[c] * scale);
    }
    partial[place_in_block(u) * stride + static_cast<int>(threadIdx.x)] = sum;
  });
  __syncthreads();
  for_each_block_row(num_rows, [&](int place, int64_t row) {
    Acc sums[kSums] = {};
    for (int i = 0; i < columns; i += kSums) {
#pragma unroll
      for (int k = 0; k < kSums; ++k) {
        if (i + k < columns) sums[k] += partial[place * stride + i + k];
      }
    }
    finish(place, row, ((sums[0] + sums[1]) + (sums[2] + sums[3])) / Acc(width));
  });
  __syncthreads();
}

template <class T, int kVector>
__global__ void __launch_bounds__(kBlockSize)
    rowwise_adam_kernel(RowUpdateRowwiseAdam<T> a, RowUnbias<double> row_unbias) {
  using Acc = Accumulator<T>;
  __shared__ Acc unbias_m[kRowsPerThread * kBlockSize], root[kRowsPerThread * kBlockSize];
  const UpdateControl control = read_control(a.control);
  if (!control.apply) return;
  const Acc lr = Acc(a.lr * control.lr_ratio), scale = Acc(control.grad_scale);
  const Acc keep_m = Acc(a.beta1), take_m = Acc(1 - a.beta1), keep_v = Acc(a.beta2), take_v = Acc(1 - a.beta2);
  with_mean_squares<kVector>(a.grad, scale, [&](int place, int64_t row, Acc mean_square) {
    const int64_t slot = a.slots(row);
    const int32_t count = next_count(a.count(slot));
    const Acc v = keep_v * a.v(slot) + take_v * mean_square;
    const Unbias<double> unbias = row_unbias.of(count);
    unbias_m[place] = Acc(unbias.m);
    root[place] = sqrt(v * Acc(unbias.v)) + Acc(a.eps);
    a.count(slot) = count;
    a.v(slot) = v;
  });
  for (int64_t i = threadIdx.x; i < a.weight.size(1) / kVector; i += blockDim.x) {
    Pack<Acc, kVector> g[kRowsPerThread], m[kRowsPerThread];
    Pack<T, kVector> weight[kRowsPerThread];
    for_each_thread_row(a.slots.size(0), [&](int u, int64_t row) {
      g[u] = pack_of<kVector>(a.grad.row(row), i);
      m[u] = pack_of<kVector>(a.m.row(a.slots(row)), i);
      weight[u] = pack_of<kVector>(a.weight.row(a.slots(row)), i);
    });
    for_each_thread_row(a.slots.size(0), [&](int u, int64_t row) {
      const Acc factor = unbias_m[place_in_block(u)], divisor = root[place_in_block(u)];
#pragma unroll
      for (int c = 0; c < kVector; ++c) {
        m[u].value[c] = keep_m * m[u].value[c] + take_m * (g[u].value[c] * scale);
        weight[u].value[c] = T(Acc(weight[u].value[c]) - lr * (m[u].value[c] * factor) / divisor);
      }
      pack_of<kVector>(a.m.row(a.slots(row)), i) = m[u];
      pack_of<kVector>(a.weight.row(a.slots(row)), i) = weight[u];
    });
  }
}

template <class T, int kVector>
__global__ void __launch_bounds__(kBlockSize) rowwise_adagrad_kernel(RowUpdateRowwiseAdagrad<T> a) {
  using Acc = Accumulator<T>;
  __shared__ Acc root[kRowsPerThread * kBlockSize];
  const UpdateControl control = read_control(a.control);
  if (!control.apply) return;
  const Acc lr = Acc(a.lr * control.lr_ratio), scale = Acc(control.grad_scale);
  with_mean_squares<kVector>(a.grad, scale, [&](int place, int64_t row, Acc mean_square) {
    const Acc s = a.s(a.slots(row)) + mean_square;
    root[place] = sqrt(s) + Acc(a.eps);
    a.s(a.slots(row)) = s;
  });
  for (int64_t i = threadIdx.x; i < a.weight.size(1) / kVector; i += blockDim.x) {
    Pack<Acc, kVector> g[kRowsPerThread];
    Pack<T, kVector> weight[kRowsPerThread];
    for_each_thread_row(a.slots.size(0), [&](int u, int64_t row) {
      g[u] = pack_of<kVector>(a.grad.row(row), i);
      weight[u] = pack_of<kVector>(a.weight.row(a.slots(row)), i);
    });
    for_each_thread_row(a.slots.size(0), [&](int u, int64_t row) {
      const Acc divisor = root[place_in_block(u)];
#pragma unroll
      for (int c = 0; c < kVector; ++c)
        weight[u].value[c] = T(Acc(weight[u].value[c]) - lr * (g[u].value[c] * scale) / divisor);
      pack_of<kVector>(a.weight.row(a.slots(row)), i) = weight[u];
    });
  }
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const RowUpdateRowwiseAdam<T>& a) {
  const auto launch = [&]<int kVector>() {
    const int64_t num_packs = a.weight.size(1) / kVector;
    launch_row_packs(queue, rowwise_adam_kernel<T, kVector>, a.slots.size(0), num_packs, a, RowUnbias<double>(a));
  };
  with_packs(a.weight.size(1), launch, a.weight.data, a.grad.data, a.m.data);
}

template <class T>
void run(CudaQueue& queue, const RowUpdateRowwiseAdagrad<T>& a) {
  const auto launch = [&]<int kVector>() {
    launch_row_packs(queue, rowwise_adagrad_kernel<T, kVector>, a.slots.size(0), a.weight.size(1) / kVector, a);
  };
  with_packs(a.weight.size(1), launch, a.weight.data, a.grad.data);
}

template void run(CudaQueue&, const RowUpdateRowwiseAdam<bfloat16>&);
template void run(CudaQueue&, const RowUpdateRowwiseAdam<float>&);
template void run(CudaQueue&, const RowUpdateRowwiseAdam<double>&);
template void run(CudaQueue&, const RowUpdateRowwiseAdagrad<bfloat16>&);
template void run(CudaQueue&, const RowUpdateRowwiseAdagrad<float>&);
template void run(CudaQueue&, const RowUpdateRowwiseAdagrad<double>&);

}  // namespace engram
