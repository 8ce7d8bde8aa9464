#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "kernels/core/dtype.h"

namespace engram {

// 16 bytes that one thread moves at once.
using Chunk = uint4;

// True where every row of `row_bytes` bytes, of each of the arrays, is a whole number of aligned chunks.
template <class... T>
bool in_chunks(int64_t row_bytes, const T*... arrays) {
  constexpr auto kSize = sizeof(Chunk);
  return static_cast<size_t>(row_bytes) % kSize == 0 && ((reinterpret_cast<uintptr_t>(arrays) % kSize == 0) && ...);
}

template <class T>
inline constexpr int kPerChunk = static_cast<int>(sizeof(Chunk) / sizeof(T));

// Calls fn.operator()<N>() with the number of elements of T that a thread is to move at once: a chunk of them, or one.
template <class T, class Fn>
void with_access(bool chunks, Fn&& fn) {
  if (chunks) return fn.template operator()<kPerChunk<T>>();
  fn.template operator()<1>();
}

namespace detail {
// clang-format off
template <int kBytes> struct RawOf;
template <> struct RawOf<2> { using type = uint16_t; };
template <> struct RawOf<4> { using type = uint32_t; };
template <> struct RawOf<8> { using type = uint2; };
template <> struct RawOf<16> { using type = uint4; };
template <int kCount> struct Words { uint32_t at[kCount]; };
// clang-format on
}  // namespace detail

// N elements of T side by side in memory, as they lie there.
template <class T, int N>
using Raw = typename detail::RawOf<N* static_cast<int>(sizeof(T))>::type;

// The same elements in the type that sums are kept in.
template <class T, int N>
struct Values {
  Accumulator<T> at[N];
};

template <class T, int N>
__device__ Values<T, N> unpack(const Raw<T, N>& raw) {
  if constexpr (!std::is_same_v<T, bfloat16>) {
    return std::bit_cast<Values<T, N>>(raw);
  } else if constexpr (N == 1) {
    return {{__uint_as_float(uint32_t{raw} << 16)}};
  } else {
    const auto words = std::bit_cast<detail::Words<N / 2>>(raw);
    Values<T, N> values;
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
      values.at[2 * i] = __uint_as_float(words.at[i] << 16);
      values.at[2 * i + 1] = __uint_as_float(words.at[i] & 0xffff0000u);
    }
    return values;
  }
}

// Rounds to nearest even, as bfloat16 does.
template <class T, int N>
__device__ Raw<T, N> pack(const Values<T, N>& values) {
  if constexpr (!std::is_same_v<T, bfloat16>) {
    return std::bit_cast<Raw<T, N>>(values);
  } else if constexpr (N == 1) {
    return bfloat16(values.at[0]).bits;
  } else {
    detail::Words<N / 2> words;
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
      asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(words.at[i]) : "f"(values.at[2 * i + 1]), "f"(values.at[2 * i]));
    }
    return std::bit_cast<Raw<T, N>>(words);
  }
}

template <class T, int N>
__device__ Raw<T, N> load_raw(const T* from) {
  return *reinterpret_cast<const Raw<T, N>*>(from);
}
template <class T, int N>
__device__ Values<T, N> load(const T* from) {
  return unpack<T, N>(load_raw<T, N>(from));
}
// Into global memory; a chunk by one instruction, where nvcc makes four of an assignment inside two loops.
template <class T, int N>
__device__ void store(T* to, const Values<T, N>& values) {
  const Raw<T, N> raw = pack<T, N>(values);
  if constexpr (std::is_same_v<Raw<T, N>, Chunk>) {
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "r"(raw.x), "r"(raw.y),
                 "r"(raw.z), "r"(raw.w)
                 : "memory");
  } else {
    *reinterpret_cast<Raw<T, N>*>(to) = raw;
  }
}

// kCount elements that one thread loads or stores at once, 16 bytes at a time where there are more.
template <class T, int kCount>
struct alignas(sizeof(T) * kCount < sizeof(Chunk) ? sizeof(T) * kCount : sizeof(Chunk)) Pack {
  T value[kCount];
};

// True where every row of `width` elements, of each of the arrays, is a whole number of aligned packs.
template <int kCount, class... T>
bool in_packs(int64_t width, const T*... arrays) {
  return width % kCount == 0 && ((reinterpret_cast<uintptr_t>(arrays) % alignof(Pack<T, kCount>) == 0) && ...);
}

}  // namespace engram
