#pragma once

#include <bit>
#include <cstdint>

#if defined(__CUDACC__)
#define ENGRAM_HOST_DEVICE __host__ __device__
#else
#define ENGRAM_HOST_DEVICE
#endif

namespace engram {

// The upper half of a float32. Conversion from float rounds to nearest even; NaN stays NaN.
struct bfloat16 {
  uint16_t bits = 0;

  bfloat16() = default;
  ENGRAM_HOST_DEVICE explicit bfloat16(float value) {
    const auto word = std::bit_cast<uint32_t>(value);
    const bool is_nan = (word & 0x7fffffffu) > 0x7f800000u;
    bits = static_cast<uint16_t>(is_nan ? (word >> 16) | 0x40u : (word + 0x7fffu + ((word >> 16) & 1u)) >> 16);
  }
  ENGRAM_HOST_DEVICE explicit operator float() const { return std::bit_cast<float>(uint32_t{bits} << 16); }
};

enum class DType : uint8_t { kFloat32, kFloat64, kBFloat16, kInt32, kInt64, kUInt8 };

// Bytes of one element.
// clang-format off
constexpr int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
    case DType::kInt64: return 8;
    case DType::kFloat32:
    case DType::kInt32: return 4;
    case DType::kBFloat16: return 2;
    case DType::kUInt8: return 1;
  }
  return 0;
}

constexpr const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return "float32";
    case DType::kFloat64: return "float64";
    case DType::kBFloat16: return "bfloat16";
    case DType::kInt32: return "int32";
    case DType::kInt64: return "int64";
    case DType::kUInt8: return "uint8";
  }
  return "unknown";
}

template <class T>
struct DTypeOf;
template <> struct DTypeOf<float> { static constexpr DType value = DType::kFloat32; };
template <> struct DTypeOf<double> { static constexpr DType value = DType::kFloat64; };
template <> struct DTypeOf<bfloat16> { static constexpr DType value = DType::kBFloat16; };
template <> struct DTypeOf<int32_t> { static constexpr DType value = DType::kInt32; };
template <> struct DTypeOf<int64_t> { static constexpr DType value = DType::kInt64; };
template <> struct DTypeOf<uint8_t> { static constexpr DType value = DType::kUInt8; };

template <class T>
inline constexpr DType dtype_of = DTypeOf<T>::value;

namespace detail {
template <class T> struct AccumulatorOf { using type = T; };
template <> struct AccumulatorOf<bfloat16> { using type = float; };
}  // namespace detail
// clang-format on

// The type in which sums over T are kept: float for bfloat16, T itself otherwise.
template <class T>
using Accumulator = typename detail::AccumulatorOf<T>::type;

// The same for a run-time dtype.
constexpr DType accumulator(DType dtype) { return dtype == DType::kBFloat16 ? DType::kFloat32 : dtype; }

}  // namespace engram
