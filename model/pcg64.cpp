#include "model/pcg64.h"

#include <algorithm>
#include <bit>

#include "kernels/core/check.h"

namespace engram {
namespace {

// Hashes one word at a time; the constant runs on from word to word.
class Scrambler {
 public:
  Scrambler(uint32_t constant, uint32_t factor) : constant_(constant), factor_(factor) {}
  uint32_t operator()(uint32_t value) {
    value ^= constant_;
    constant_ *= factor_;
    value *= constant_;
    return value ^ value >> 16;
  }

 private:
  uint32_t constant_;
  uint32_t factor_;
};

uint32_t blend(uint32_t a, uint32_t b) {
  const uint32_t result = 0xca01f9ddu * a - 0x4973f715u * b;
  return result ^ result >> 16;
}

}  // namespace

SeedSequence::SeedSequence(uint64_t seed)
    : SeedSequence(std::array<uint32_t, 2>{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)}) {}

SeedSequence::SeedSequence(std::span<const uint32_t> words) {
  Scrambler scramble(0x43b0d7e5u, 0x931e8875u);
  for (size_t i = 0; i < pool.size(); ++i) pool[i] = scramble(i < words.size() ? words[i] : 0);
  for (size_t from = 0; from < pool.size(); ++from) {
    for (size_t to = 0; to < pool.size(); ++to) {
      if (to != from) pool[to] = blend(pool[to], scramble(pool[from]));
    }
  }
  for (const uint32_t word : words.subspan(std::min(pool.size(), words.size()))) {
    for (uint32_t& mixed : pool) mixed = blend(mixed, scramble(word));
  }
}

std::array<uint64_t, 4> SeedSequence::state() const {
  Scrambler scramble(0x8b51f9ddu, 0x58f38dedu);
  std::array<uint64_t, 4> words;
  for (size_t i = 0; i < words.size(); ++i) {
    const uint64_t low = scramble(pool[2 * i % pool.size()]);
    words[i] = uint64_t{scramble(pool[(2 * i + 1) % pool.size()])} << 32 | low;
  }
  return words;
}

Pcg64::Pcg64(const SeedSequence& seed) {
  const auto words = seed.state();
  increment_ = (Word128{words[2]} << 64 | words[3]) << 1 | 1;
  step();
  state_ += Word128{words[0]} << 64 | words[1];
  step();
}

void Pcg64::step() {
  constexpr Word128 kMultiplier = Word128{0x2360ED051FC65DA4u} << 64 | 0x4385DF649FCCF645u;
  state_ = state_ * kMultiplier + increment_;
}

uint64_t Pcg64::next() {
  step();
  const auto [high, low] = halves(state_);
  return std::rotr(high ^ low, static_cast<int>(high >> 58));
}

uint64_t Pcg64::next_below(uint64_t bound) {
  ENGRAM_CHECK(bound == 1 || bound > uint64_t{1} << 32, "pcg64: bound ", bound, "; wanted 1 or more than 2^32");
  if (bound == 1) return 0;
  Word128 product = Word128{next()} * bound;
  if (static_cast<uint64_t>(product) < bound) {
    const uint64_t uneven = (0 - bound) % bound;  // (2^64 - bound) mod bound
    while (static_cast<uint64_t>(product) < uneven) product = Word128{next()} * bound;
  }
  return static_cast<uint64_t>(product >> 64);
}

}  // namespace engram
