#pragma once

#include "kernels/core/tensor.h"

namespace engram {

// Heads [first, first + count) of each token's row in a packed tensor: what queries, keys and values are of one
// projection's output. A Tensor stands for all of its heads.
struct HeadSlice {
  Tensor packed;  // [batch, seq, heads of a row, dim]
  int64_t first = 0;
  int64_t count = 0;

  HeadSlice(const Tensor& whole)  // NOLINT: a Tensor may stand for a slice
      : packed(whole), count(whole.rank == 4 ? whole.size(2) : 0) {}
  HeadSlice(const Tensor& memory, int64_t first_head, int64_t num_heads)
      : packed(memory), first(first_head), count(num_heads) {}

  std::array<int64_t, 4> shape() const { return {packed.size(0), packed.size(1), count, packed.size(3)}; }
};

// Throws Error unless the slice lies in a packed tensor of the dtype and has the shape; a wanted size of -1 fits any.
inline void check_heads(const char* what, const HeadSlice& slice, DType dtype, std::array<int64_t, 4> wanted) {
  check_tensor(what, slice.packed, dtype, {wanted[0], wanted[1], -1, wanted[3]});
  const bool inside = slice.first >= 0 && slice.count >= 0 && slice.first + slice.count <= slice.packed.size(2);
  ENGRAM_CHECK(inside && (wanted[2] == -1 || wanted[2] == slice.count), what, ": got ", name_of(dtype), " ",
               to_string(slice.shape()), ", wanted ", name_of(dtype), " ", to_string(wanted), "; its first head is ",
               slice.first, " of ", slice.packed.size(2));
}

// Typed look at a HeadSlice, as [batch, seq, heads, dim]: head h of position s starts at data + s * stride + h * dim,
// positions of all sequences counted together.
template <class T>
struct Heads {
  T* data = nullptr;
  int64_t dims[4] = {};
  int64_t stride = 0;

  ENGRAM_HOST_DEVICE int64_t size(int axis) const { return dims[axis]; }
  ENGRAM_HOST_DEVICE int64_t num_positions() const { return dims[0] * dims[1]; }
  ENGRAM_HOST_DEVICE int64_t numel() const { return dims[0] * dims[1] * dims[2] * dims[3]; }
  ENGRAM_HOST_DEVICE T* at(int64_t position, int64_t head) const { return data + position * stride + head * dims[3]; }
};

template <class T>
Heads<T> heads_view(const HeadSlice& slice) {
  const auto packed = view<T, 4>(slice.packed);
  const int64_t dim = packed.size(3);
  T* const begin = packed.data == nullptr ? nullptr : packed.data + slice.first * dim;
  return {begin, {packed.size(0), packed.size(1), slice.count, dim}, packed.size(2) * dim};
}

}  // namespace engram
