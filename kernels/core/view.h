#pragma once

#include <cassert>
#include <cstdint>

#include "kernels/core/dtype.h"

namespace engram {

// Typed, row-major, contiguous look at memory that somebody else owns. Travels by value into kernels.
template <class T, int Rank>
struct View {
  T* data = nullptr;
  int64_t dims[Rank] = {};

  ENGRAM_HOST_DEVICE int64_t size(int axis) const { return dims[axis]; }
  ENGRAM_HOST_DEVICE int64_t numel() const {
    int64_t count = 1;
    for (int axis = 0; axis < Rank; ++axis) count *= dims[axis];
    return count;
  }

  template <class... Index>
  ENGRAM_HOST_DEVICE T& operator()(Index... index) const {
    static_assert(sizeof...(Index) == Rank, "one index per axis");
    const int64_t at[] = {static_cast<int64_t>(index)...};
    int64_t offset = 0;
    for (int axis = 0; axis < Rank; ++axis) {
      assert(at[axis] >= 0 && at[axis] < dims[axis]);  // an index outside the view is our bug
      offset = offset * dims[axis] + at[axis];
    }
    return data[offset];
  }

  // First element of row `index` along axis 0.
  ENGRAM_HOST_DEVICE T* row(int64_t index) const {
    assert(index >= 0 && index < dims[0]);
    int64_t stride = 1;
    for (int axis = 1; axis < Rank; ++axis) stride *= dims[axis];
    return data + index * stride;
  }
};

}  // namespace engram
