#include "kernels/cuda/launch.cuh"
#include "kernels/row_keys_impl.h"

namespace engram {
namespace {

__global__ void __launch_bounds__(kBlockSize) no_findings_kernel(RowKeys a) {
  if (thread_index() != 0) return;
  a.findings(0) = a.rows.size(0);
  a.findings(1) = 0;
}

// The lowest of all, and sums of integers, are the same in whatever order they come.
__global__ void __launch_bounds__(kBlockSize) key_kernel(RowKeys a) {
  const int64_t i = thread_index(), count = a.rows.size(0);
  const int64_t row = i < count ? a.rows(i) : -1;
  const bool found = i < count && is_row(a, row);
  auto* findings = reinterpret_cast<unsigned long long*>(a.findings.data);
  const int num_none = __syncthreads_count(i < count && !found);
  if (threadIdx.x == 0 && num_none > 0) atomicAdd(findings + 1, static_cast<unsigned long long>(num_none));
  if (i >= count) return;
  if (!found && row != -1) atomicMin(findings, static_cast<unsigned long long>(i));
  a.keys(i) = found ? key_of(a.blocks, row) : -1;
}

}  // namespace

void run(CudaQueue& queue, const RowKeys& a) {
  launch_each(queue, no_findings_kernel, 1, a);
  launch_each(queue, key_kernel, a.rows.size(0), a);
}

}  // namespace engram
