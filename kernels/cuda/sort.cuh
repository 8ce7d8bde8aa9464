#pragma once

#include <bit>
#include <cstdint>

#include "kernels/core/stream.h"

namespace engram {

// Bits that tell numbers in [0, end) and -1, whose bits are all ones, apart. -1 comes last when sorted by them.
inline int bits_below(int64_t end) {
  const int bits = std::bit_width(static_cast<uint64_t>(end));
  return bits == 0 ? 1 : bits;
}

// sorted: the keys, as Key, in ascending order of their lowest `bits` bits; position: where each of them stood,
// ascending among equal keys. Both have room for `count` elements and are device memory, as keys is. Key is uint32_t,
// for up to 32 bits, or uint64_t. Throws Error for 2^32 keys or more.
template <class Key>
void sort_with_positions(CudaQueue& queue, const int64_t* keys, int64_t count, int bits, Key* sorted,
                         uint32_t* position);

// values[i] = values[0] + ... + values[i], in place.
void inclusive_sum(CudaQueue& queue, uint32_t* values, int64_t count);

}  // namespace engram
