#include "kernels/ngram_hash.h"

#include "tests/gpu_testing.h"

namespace engram {
namespace {

struct NgramHashGpuTest : test::GpuFixture {
  static constexpr int64_t kVocabulary = 90000;

  static uint64_t random(uint64_t key, int64_t i) {
    const Random128 random = philox(key, static_cast<uint64_t>(i), 0);
    return uint64_t{random.word[0]} << 32 | random.word[1];
  }
  template <class T>
  Tensor fill(std::initializer_list<int64_t> shape, const std::function<uint64_t(int64_t)>& value) {
    const Tensor tensor = host.take("values", dtype_of<T>, shape);
    for (int64_t i = 0; i < tensor.numel(); ++i) static_cast<T*>(tensor.data)[i] = static_cast<T>(value(i));
    return tensor;
  }

  // Every row number, bit for bit; one id in 16 is dead, and one position in 16 starts a segment.
  void compare(int64_t batch, int64_t history, int64_t seq, bool with_starts) {
    Arena::Scope host_scope(host), device_scope(*device);
    constexpr int64_t kOrders = 4, kHeads = 3, kColumns = (kOrders - 1) * kHeads;
    const Tensor ids = fill<int32_t>({batch, history + seq}, [](int64_t i) {
      const uint64_t word = random(1, i);
      return word % 16 == 0 ? static_cast<uint64_t>(kDeadToken) : (word >> 8) % kVocabulary;
    });
    const Tensor starts =
        with_starts ? fill<uint8_t>({batch, history + seq}, [](int64_t i) { return uint64_t{random(2, i) % 16 == 0}; })
                    : Tensor();
    NgramHashConstants constants{
        .heads = kHeads,
        .pad_id = 2,
        .multipliers = fill<int64_t>({kOrders}, [](int64_t i) { return random(3, i) % (INT64_MAX / kVocabulary) | 1; }),
        .primes = fill<int64_t>({kColumns}, [](int64_t i) { return random(4, i) % 3'000'000 + 1; }),
        .offsets = fill<int64_t>({kColumns}, [](int64_t i) { return static_cast<uint64_t>(i) * 5'000'000'000; })};
    const Tensor want = host.take("rows", DType::kInt64, {batch * seq, kColumns});
    ngram_hash(cpu, ids, starts, history, constants, want);

    for (Tensor* constant : {&constants.multipliers, &constants.primes, &constants.offsets}) {
      *constant = to_device(*constant);
    }
    const Tensor rows = poisoned(DType::kInt64, {batch * seq, kColumns});
    ngram_hash(stream, to_device(ids), with_starts ? to_device(starts) : Tensor(), history, constants, rows);
    EXPECT_TRUE(test::same_bits(to_host(rows), want)) << batch << " " << history << " " << seq << " " << with_starts;
  }
};

TEST_F(NgramHashGpuTest, GivesTheRowsOfTheCpuForm) {
  for (const bool with_starts : {false, true}) {
    for (const int64_t batch : {0, 1, 3}) {
      for (const int64_t history : {0, 2, 3, 7}) {
        for (const int64_t seq : {0, 1, 5, 400}) compare(batch, history, seq, with_starts);
      }
    }
  }
}

TEST_F(NgramHashGpuTest, CompressesTokensLikeTheCpuForm) {
  const Tensor map = fill<int32_t>({kVocabulary}, [](int64_t i) { return random(6, i) % 70000; });
  for (const int64_t count : {0, 1, 1003}) {
    const Tensor tokens = fill<int32_t>(
        {count}, [](int64_t i) { return i % 9 == 4 ? static_cast<uint64_t>(kDeadToken) : random(7, i) % kVocabulary; });
    const Tensor want = host.take("compressed", DType::kInt32, {count});
    compress_tokens(cpu, tokens, map, want);
    const Tensor compressed = poisoned(DType::kInt32, {count}), in_place = to_device(tokens);
    compress_tokens(stream, in_place, to_device(map), compressed);
    EXPECT_TRUE(test::same_bits(to_host(compressed), want));
    compress_tokens(stream, in_place, to_device(map), in_place);
    EXPECT_TRUE(test::same_bits(to_host(in_place), want));
  }
}

}  // namespace
}  // namespace engram
