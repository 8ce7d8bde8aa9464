#pragma once

#include <cstdint>

namespace engram {

// 16 bytes that one thread moves at once.
using Chunk = uint4;

// True where every row of `row_bytes` bytes, of each of the arrays, is a whole number of aligned chunks.
template <class... T>
bool in_chunks(int64_t row_bytes, const T*... arrays) {
  constexpr auto kSize = sizeof(Chunk);
  return static_cast<size_t>(row_bytes) % kSize == 0 && ((reinterpret_cast<uintptr_t>(arrays) % kSize == 0) && ...);
}

}  // namespace engram
