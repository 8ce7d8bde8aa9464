#include "kernels/row_keys.h"

#include "tests/gpu_testing.h"

namespace engram {
namespace {

struct RowKeysGpuTest : test::GpuFixture {
  // Rows of three tables, padding, -1 and numbers that are no rows; `wrong_every` 0: only rows and -1.
  void compare(int64_t count, uint32_t wrong_every) {
    Arena::Scope host_scope(host), device_scope(*device);
    const RowBlocks blocks{.block_rows = 256, .num_shards = 3, .shard_slots = 4 * 256};
    const Tensor first_block = test::tensor_of<int64_t>(host, {0, 2, 7, 10}, {4});
    const Tensor table_rows = test::tensor_of<int64_t>(host, {300, 5 * 256, 513}, {3});
    const Tensor rows = host.take("rows", DType::kInt64, {count});
    for (int64_t i = 0; i < count; ++i) {
      const Random128 draw = philox(4, static_cast<uint64_t>(i), 0);
      const int64_t good = draw.word[0] % 5 == 0 ? -1 : 2 * 256 + draw.word[1] % (5 * 256);
      const bool is_wrong = wrong_every != 0 && draw.word[2] % wrong_every == 0;
      static_cast<int64_t*>(rows.data)[i] = is_wrong ? int64_t{draw.word[3]} - 2'000'000'000 : good;
    }
    const Tensor keys = poisoned(DType::kInt64, {count}), findings = poisoned(DType::kInt64, {2});
    const Tensor want_keys = host.take("keys", DType::kInt64, {count});
    const Tensor want_findings = host.take("findings", DType::kInt64, {2});
    row_keys(stream, to_device(rows), blocks, to_device(first_block), to_device(table_rows), keys, findings);
    row_keys(cpu, rows, blocks, first_block, table_rows, want_keys, want_findings);
    EXPECT_TRUE(test::same_bits(to_host(keys), want_keys)) << count;
    EXPECT_TRUE(test::same_bits(to_host(findings), want_findings)) << count;
  }
};

TEST_F(RowKeysGpuTest, GivesWhatTheCpuFormGives) {
  for (const int64_t count : {0, 1, 1000, 100'003}) {
    for (const uint32_t wrong_every : {0u, 1u, 700u}) compare(count, wrong_every);
  }
}

}  // namespace
}  // namespace engram
