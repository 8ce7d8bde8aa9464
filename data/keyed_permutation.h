#pragma once

#include <cstdint>

namespace engram {

// The image of `index` under a permutation of [0, size) that seed and stream choose; O(1) memory, expected O(1) time.
// An eight-round Feistel network over the next even power of two, its rounds keyed by Philox, walked until the value
// falls below size (Black & Rogaway 2002, "Ciphers with arbitrary finite domains"). index < size <= 2^62.
uint64_t keyed_permutation(uint64_t seed, uint32_t stream, uint64_t index, uint64_t size);

// The stream that shuffles documents when a store is built; streams below it are epochs of training.
inline constexpr uint32_t kDocumentStream = 0xffffffffu;

}  // namespace engram
