#pragma once

#include <algorithm>

#include "kernels/cuda/launch.cuh"

// Blocks that take several rows, so that rows of few packs leave no thread idle: threadIdx.x walks over the packs of a
// row, threadIdx.y over rows.
namespace engram {

inline dim3 row_threads(int64_t num_packs) {
  const auto columns = static_cast<unsigned>(std::clamp<int64_t>(num_packs, 1, kBlockSize));
  return dim3(columns, kBlockSize / columns);
}

}  // namespace engram
