#include "data/keyed_permutation.h"

#include <bit>
#include <cassert>

#include "kernels/core/rng.h"

namespace engram {

uint64_t keyed_permutation(uint64_t seed, uint32_t stream, uint64_t index, uint64_t size) {
  assert(index < size && size <= uint64_t{1} << 62);
  constexpr uint64_t kNumRounds = 8;
  const int half_bits = size <= 1 ? 1 : (std::bit_width(size - 1) + 1) / 2;
  const uint64_t mask = (uint64_t{1} << half_bits) - 1;
  const uint64_t counter_high = uint64_t{static_cast<uint32_t>(RandomDomain::kDataOrder)} << 32 | stream;

  uint64_t value = index;
  do {
    uint64_t left = value >> half_bits, right = value & mask;
    for (uint64_t round = 0; round < kNumRounds; ++round) {
      const uint64_t mixed = left ^ (philox(seed, round << 32 | right, counter_high).word[0] & mask);
      left = right;
      right = mixed;
    }
    value = left << half_bits | right;
  } while (value >= size);
  return value;
}

}  // namespace engram
