#pragma once

#include <array>
#include <initializer_list>
#include <span>
#include <string>

#include "kernels/core/check.h"
#include "kernels/core/dtype.h"
#include "kernels/core/view.h"

namespace engram {

// Plain look at memory: data, dtype, dims; row-major and contiguous; owns nothing. An empty Tensor has data == nullptr.
struct Tensor {
  static constexpr int kMaxRank = 4;

  void* data = nullptr;
  DType dtype = DType::kFloat32;
  int8_t rank = 0;
  std::array<int64_t, kMaxRank> dims{};

  Tensor() = default;
  Tensor(void* memory, DType type, std::span<const int64_t> shape) : data(memory), dtype(type) {
    ENGRAM_CHECK(shape.size() <= kMaxRank, "tensor: rank ", shape.size(), "; wanted at most ", kMaxRank);
    rank = static_cast<int8_t>(shape.size());
    for (size_t axis = 0; axis < shape.size(); ++axis) dims[axis] = shape[axis];
  }
  Tensor(void* memory, DType type, std::initializer_list<int64_t> shape)
      : Tensor(memory, type, std::span<const int64_t>(shape.begin(), shape.size())) {}

  bool empty() const { return data == nullptr; }
  int64_t size(int axis) const { return dims[static_cast<size_t>(axis)]; }
  int64_t numel() const {
    int64_t count = 1;
    for (int axis = 0; axis < rank; ++axis) count *= size(axis);
    return count;
  }
  int64_t num_bytes() const { return numel() * size_of(dtype); }
  std::span<const int64_t> shape() const { return {dims.data(), static_cast<size_t>(rank)}; }

  // The same memory under another shape of equal size.
  Tensor reshape(std::initializer_list<int64_t> shape) const {
    Tensor result(data, dtype, shape);
    ENGRAM_CHECK(result.numel() == numel(), "reshape: ", result.numel(), " elements from ", numel());
    return result;
  }
  // Rows [begin, begin + count) along axis 0.
  Tensor rows(int64_t begin, int64_t count) const {
    assert(rank >= 1 && begin >= 0 && count >= 0 && begin + count <= size(0));
    Tensor result = *this;
    const int64_t row_bytes = size(0) == 0 ? 0 : num_bytes() / size(0);
    if (data != nullptr) result.data = static_cast<char*>(data) + begin * row_bytes;
    result.dims[0] = count;
    return result;
  }
};

inline std::string to_string(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t axis = 0; axis < shape.size(); ++axis) text += (axis ? ", " : "") + std::to_string(shape[axis]);
  return text + "]";
}

// Throws Error unless the tensor has the dtype and shape; a wanted size of -1 fits any.
inline void check_tensor(const char* what, const Tensor& tensor, DType dtype, std::initializer_list<int64_t> shape) {
  bool fits = tensor.dtype == dtype && static_cast<size_t>(tensor.rank) == shape.size();
  int axis = 0;
  for (auto wanted = shape.begin(); fits && wanted != shape.end(); ++wanted, ++axis) {
    fits = *wanted == -1 || *wanted == tensor.size(axis);
  }
  ENGRAM_CHECK(fits, what, ": got ", name_of(tensor.dtype), " ", to_string(tensor.shape()), ", wanted ", name_of(dtype),
               " ", to_string({shape.begin(), shape.size()}));
}

// Typed view of a tensor; throws Error where dtype or rank differ.
template <class T, int Rank>
View<T, Rank> view(const Tensor& tensor) {
  using Element = std::remove_const_t<T>;
  ENGRAM_CHECK(tensor.dtype == dtype_of<Element>, "view: tensor is ", name_of(tensor.dtype), ", wanted ",
               name_of(dtype_of<Element>));
  ENGRAM_CHECK(tensor.rank == Rank, "view: tensor has shape ", to_string(tensor.shape()), ", wanted rank ", Rank);
  View<T, Rank> result{static_cast<T*>(tensor.data), {}};
  for (int axis = 0; axis < Rank; ++axis) result.dims[axis] = tensor.size(axis);
  return result;
}

// The same, or a view whose data is nullptr where the tensor is empty: for optional arguments of an op.
template <class T, int Rank>
View<T, Rank> optional_view(const Tensor& tensor) {
  return tensor.empty() ? View<T, Rank>{} : view<T, Rank>(tensor);
}

// All elements of a tensor as one flat view, whatever its rank.
template <class T>
View<T, 1> flat_view(const Tensor& tensor) {
  return view<T, 1>(Tensor(tensor.data, tensor.dtype, {tensor.numel()}));
}

// Host memory of a tensor as a span.
template <class T>
std::span<T> host_span(const Tensor& tensor) {
  const auto flat = flat_view<T>(tensor);
  return {flat.data, static_cast<size_t>(flat.size(0))};
}

}  // namespace engram
