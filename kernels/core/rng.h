#pragma once

#include <array>
#include <cstdint>

#include "kernels/core/dtype.h"

namespace engram {

// Counter-based random numbers: every value is a pure function of (key, counter), so nothing depends on the order of
// calls, on threads or on ranks, and CPU and CUDA give the same bits.

struct Random128 {
  uint32_t word[4];
};

// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
ENGRAM_HOST_DEVICE constexpr Random128 philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  uint32_t c0 = static_cast<uint32_t>(counter_low), c1 = static_cast<uint32_t>(counter_low >> 32);
  uint32_t c2 = static_cast<uint32_t>(counter_high), c3 = static_cast<uint32_t>(counter_high >> 32);
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// What a random number is for; part of the counter, so that no two uses share bits.
enum class RandomDomain : uint32_t { kDenseInit = 1, kTableInit = 2, kDataOrder = 3, kSampling = 4, kRounding = 5 };

// Uniform in [0, 1) with 24 random bits, from one word.
ENGRAM_HOST_DEVICE constexpr float uniform(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

// Mean 0, variance 1: the sum of eight 16-bit uniforms (Irwin-Hall), within 0.002 of the normal distribution function
// and bounded by 4.9. Integer sums make it the same bits on every device, which log and cos do not.
ENGRAM_HOST_DEVICE constexpr float normal(const Random128& random) {
  int64_t sum = 0;
  for (const uint32_t word : random.word) sum += (word & 0xffffu) + (word >> 16);
  constexpr double kMean = 8 * 32767.5;
  constexpr double kInverseDeviation = 1.8688123650118534e-5;  // 1 / sqrt(8 * (65536^2 - 1) / 12)
  return static_cast<float>((static_cast<double>(sum) - kMean) * kInverseDeviation);
}

// `value` rounded to one of the two bfloat16 around it, up with the probability of its distance to the lower one: 16
// random bits are added to those that go. What bfloat16 has stays, and so does what is not finite; nothing becomes
// infinite.
ENGRAM_HOST_DEVICE inline bfloat16 round_stochastically(float value, uint16_t random) {
  constexpr uint32_t kExponent = 0x7f800000u;
  const auto word = std::bit_cast<uint32_t>(value);
  if ((word & kExponent) == kExponent) return bfloat16(value);
  const uint32_t sum = word + random;
  bfloat16 rounded;
  rounded.bits = static_cast<uint16_t>(((sum & kExponent) == kExponent ? word : sum) >> 16);
  return rounded;
}

// normal() for element `index` of the tensor numbered `tensor`.
ENGRAM_HOST_DEVICE constexpr float normal(uint64_t seed, RandomDomain domain, uint32_t tensor, uint64_t index) {
  return normal(philox(seed, index, uint64_t{static_cast<uint32_t>(domain)} << 32 | tensor));
}

}  // namespace engram
