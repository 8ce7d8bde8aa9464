#include "model/pcg64.h"

#include <algorithm>

#include "tests/golden.h"
#include "tests/testing.h"

namespace engram {
namespace {

// A decimal number of any length as 32-bit words, least significant first.
std::vector<uint32_t> words_of(const std::string& decimal) {
  std::vector<uint32_t> words{0};
  for (const char digit : decimal) {
    uint64_t carry = static_cast<uint64_t>(digit - '0');
    for (uint32_t& word : words) {
      const uint64_t value = uint64_t{word} * 10 + carry;
      word = static_cast<uint32_t>(value);
      carry = value >> 32;
    }
    if (carry != 0) words.push_back(static_cast<uint32_t>(carry));
  }
  return words;
}

std::string hex(const std::array<uint64_t, 2>& halves) {
  char text[40];
  if (halves[0] == 0)
    std::snprintf(text, sizeof text, "0x%lx", halves[1]);
  else
    std::snprintf(text, sizeof text, "0x%lx%016lx", halves[0], halves[1]);
  return text;
}

TEST(Pcg64Test, SeedingAndRawWordsMatchTheGoldenVectors) {
  const auto golden = test::golden("engram_hash.json");
  ASSERT_EQ(golden["pcg64"].size(), 9u);
  for (const auto& want : golden["pcg64"]) {
    const auto words = words_of(want["seed"]);
    const SeedSequence seed(words);
    EXPECT_EQ(seed.pool, (want["pool_u32"].get<std::array<uint32_t, 4>>())) << want["seed"];
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(seed.state()[i], test::wide_integer(want["seedseq_u64"][i]));
    Pcg64 random(seed);
    EXPECT_EQ(hex(random.state()), want["pcg_state"]);
    EXPECT_EQ(hex(random.increment()), want["pcg_inc"]);
    for (const auto& word : want["raw_u64"]) EXPECT_EQ(random.next(), test::wide_integer(word));
    if (words.size() > 2) continue;
    Pcg64 narrow(test::wide_integer(want["seed"]));
    EXPECT_EQ(narrow.next(), test::wide_integer(want["raw_u64"][0]));
  }
}

TEST(Pcg64Test, BoundedDrawsMatchTheGoldenVectorsAndUseAsManyWords) {
  const auto golden = test::golden("engram_hash.json");
  int num_compared = 0;
  for (const auto& want : golden["bounded_draws"]) {
    const auto bound_words = words_of(want["bound"]);
    const uint64_t seed = test::wide_integer(want["seed"]);
    Pcg64 random(seed), counted(seed);
    if (bound_words.size() == 3) {  // 2^64: every word is a draw
      for (const auto& draw : want["draws"]) EXPECT_EQ(random.next(), test::wide_integer(draw));
      continue;
    }
    const uint64_t bound = test::wide_integer(want["bound"]);
    if (bound != 1 && bound <= uint64_t{1} << 32) {
      EXPECT_NE(test::error_of([&] { random.next_below(bound); }).find("wanted 1 or more than 2^32"),
                std::string::npos);
      continue;
    }
    for (const auto& draw : want["draws"]) EXPECT_EQ(random.next_below(bound), test::wide_integer(draw));
    for (int i = 0; i < want["raw_words_consumed"].get<int>(); ++i) counted.next();
    EXPECT_EQ(random.state(), counted.state()) << want["why"];
    ++num_compared;
  }
  EXPECT_EQ(num_compared, 6);
}

}  // namespace
}  // namespace engram
