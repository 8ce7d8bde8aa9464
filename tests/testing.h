// Long because every test includes this one header and no other for its tools.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "kernels/core/arena.h"
#include "kernels/core/device.h"
#include "kernels/core/rng.h"

// What op and module tests share. Tensors live in host memory; T is float or double.
namespace engram::test {

// A stream and a poisoned arena on the CPU.
struct CpuFixture : ::testing::Test {
  Stream stream = CpuQueue{};
  Arena arena{Device::kCpu, int64_t{64} << 20, /*poison=*/true};
};

// Random values of mean 0 and deviation `scale`; `seed` chooses the sequence.
template <class T>
Tensor random_tensor(Arena& arena, uint64_t seed, std::initializer_list<int64_t> shape, double scale = 1.0) {
  const Tensor tensor = arena.take("test.random", dtype_of<T>, shape);
  auto values = host_span<T>(tensor);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = T(scale * normal(seed, RandomDomain::kSampling, 0, static_cast<uint64_t>(i)));
  }
  return tensor;
}

// All elements set to `value`.
template <class T>
Tensor constant_tensor(Arena& arena, T value, std::initializer_list<int64_t> shape) {
  const Tensor tensor = arena.take("test.constant", dtype_of<T>, shape);
  for (T& element : host_span<T>(tensor)) element = value;
  return tensor;
}

template <class T>
Tensor tensor_of(Arena& arena, const std::vector<T>& values, std::initializer_list<int64_t> shape) {
  const Tensor tensor = arena.take("test.values", dtype_of<T>, shape);
  auto span = host_span<T>(tensor);
  EXPECT_EQ(span.size(), values.size());
  std::copy(values.begin(), values.end(), span.begin());
  return tensor;
}

// Element i of a float or double tensor.
inline double element(const Tensor& tensor, int64_t i) {
  return tensor.dtype == DType::kFloat64 ? static_cast<const double*>(tensor.data)[i]
                                         : double{static_cast<const float*>(tensor.data)[i]};
}

inline void set_element(const Tensor& tensor, int64_t i, double value) {
  if (tensor.dtype == DType::kFloat64)
    static_cast<double*>(tensor.data)[i] = value;
  else
    static_cast<float*>(tensor.data)[i] = static_cast<float>(value);
}

inline double dot(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.numel(), b.numel());
  double sum = 0;
  for (int64_t i = 0; i < a.numel(); ++i) sum += element(a, i) * element(b, i);
  return sum;
}

// |got - want| / |want| in the Euclidean norm; |got| where want is all zero; NaN anywhere gives NaN, which no EXPECT_LT
// passes.
inline double relative_error(const Tensor& got, const Tensor& want) {
  EXPECT_EQ(got.numel(), want.numel());
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < want.numel(); ++i) {
    difference += std::pow(element(got, i) - element(want, i), 2);
    norm += std::pow(element(want, i), 2);
  }
  return norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
}

// Fourth-order central differences of loss() with respect to every element of x (double). loss() reads x.
inline Tensor numeric_gradient(Arena& arena, const Tensor& x, const std::function<double()>& loss, double step = 1e-3) {
  const Tensor gradient = arena.take("test.gradient", DType::kFloat64, {x.numel()});
  for (int64_t i = 0; i < x.numel(); ++i) {
    const double center = element(x, i);
    const auto at = [&](double offset) {
      set_element(x, i, center + offset * step);
      return loss();
    };
    const double slope = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step);
    set_element(x, i, center);
    set_element(gradient, i, slope);
  }
  return gradient;
}

// True where every bit is equal.
inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.num_bytes() == b.num_bytes() &&
         (a.num_bytes() == 0 || std::memcmp(a.data, b.data, static_cast<size_t>(a.num_bytes())) == 0);
}

// Copies of a tensor: as it is, or with its elements converted to double.
inline Tensor clone(Arena& arena, const Tensor& tensor) {
  Stream stream = CpuQueue{};
  Tensor result = arena.take("test.clone", tensor.dtype, {tensor.numel()});
  result.rank = tensor.rank;
  result.dims = tensor.dims;
  copy(stream, tensor, result);
  return result;
}
inline Tensor to_double(Arena& arena, const Tensor& tensor) {
  Tensor result = arena.take("test.double", DType::kFloat64, {tensor.numel()});
  for (int64_t i = 0; i < tensor.numel(); ++i) set_element(result, i, element(tensor, i));
  result.rank = tensor.rank;
  result.dims = tensor.dims;
  return result;
}

// Message of the Error that body() throws; empty where it throws none.
inline std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace engram::test
