#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace engram {

// NumPy's SeedSequence and PCG64, bit for bit: published hash constants are draws of numpy.random.default_rng(seed).
// Source: NumPy, numpy/random/bit_generator.pyx and src/pcg64; O'Neill 2014, "PCG".

// Entropy of a seed, spread over a pool of four words.
struct SeedSequence {
  explicit SeedSequence(uint64_t seed);
  // The seed as 32-bit words, least significant first, without leading zero words; 0 is one zero word.
  explicit SeedSequence(std::span<const uint32_t> words);

  // generate_state(4, uint64).
  std::array<uint64_t, 4> state() const;

  std::array<uint32_t, 4> pool{};
};

class Pcg64 {
 public:
  explicit Pcg64(uint64_t seed) : Pcg64(SeedSequence(seed)) {}
  explicit Pcg64(const SeedSequence& seed);

  // The next 64 random bits.
  uint64_t next();
  // Uniform in [0, bound), as Generator.integers(0, bound, dtype=int64) draws it. Throws Error unless bound is 1, which
  // uses no random bits, or above 2^32; NumPy draws other bounds by a 32-bit rule that no hash constant needs.
  uint64_t next_below(uint64_t bound);

  // Upper and lower half of the 128-bit state and increment.
  std::array<uint64_t, 2> state() const { return halves(state_); }
  std::array<uint64_t, 2> increment() const { return halves(increment_); }

 private:
  __extension__ using Word128 = unsigned __int128;
  static std::array<uint64_t, 2> halves(Word128 word) {
    return {static_cast<uint64_t>(word >> 64), static_cast<uint64_t>(word)};
  }
  void step();

  Word128 state_ = 0;
  Word128 increment_ = 0;
};

}  // namespace engram
