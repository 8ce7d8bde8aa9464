#include "model/memory_addresses.h"

#include "tests/testing.h"

namespace engram {
namespace {

constexpr int64_t kHistory = 2, kSeqLen = 4, kRowsPerHead = 50;
const std::vector<int32_t> kKeys{0, 1, 2, 3, 1, 0, 2, 4, 4, 3};  // of ten tokens
const std::vector<int32_t> kTokens{7, 5, 4, 9, 1, 2};
const std::vector<uint8_t> kStarts{0, 0, 0, 1, 0, 0};
constexpr int32_t kPadToken = 7;

// The definition, one row at a time: keys of the window, the pad's key before the start of the document.
int64_t row_of(const NgramLayer& layer, int64_t position, int64_t order, int64_t column) {
  uint64_t mix = 0;
  bool blocked = false;
  for (int64_t slot = 0; slot < order; ++slot) {
    const auto at = static_cast<size_t>(kHistory + position - slot);
    const int32_t token = blocked ? kPadToken : kTokens[at];
    mix ^= static_cast<uint64_t>(kKeys[static_cast<size_t>(token)]) *
           static_cast<uint64_t>(layer.multipliers[static_cast<size_t>(slot)]);
    blocked = blocked || kStarts[at] != 0;
  }
  const auto c = static_cast<size_t>(column);
  return static_cast<int64_t>(mix % static_cast<uint64_t>(layer.primes[c])) + layer.offsets[c];
}

TEST(MemoryAddresses, AreRowsOfTheKeysInTheTableOfEachLayer) {
  EngramConfig config;
  config.layers = {1, 4};
  config.heads = 2;
  config.memory_dim = 8;
  config.rows_per_head = {kRowsPerHead};
  config.pad_token = kPadToken;
  const NgramLayout layout = make_ngram_layout(config, 5);
  const RowLayout rows(rows_per_table(layout), 3);
  Stream stream = CpuQueue{};
  const MemoryAddresses addresses(stream, config, kKeys, 5, rows);
  ASSERT_EQ(addresses.history(), kHistory);

  Arena arena(Device::kCpu, int64_t{1} << 20, /*poison=*/true);
  const Tensor got = arena.take("rows", DType::kInt64, {2 * kSeqLen * 4});
  addresses.rows(stream, test::tensor_of<int32_t>(arena, kTokens, {1, kHistory + kSeqLen}),
                 test::tensor_of<uint8_t>(arena, kStarts, {1, kHistory + kSeqLen}),
                 arena.take("compressed", DType::kInt32, {1, kHistory + kSeqLen}), got);
  size_t at = 0;
  for (int64_t table = 0; table < 2; ++table) {
    const NgramLayer& layer = layout.layers[static_cast<size_t>(table)];
    for (int64_t position = 0; position < kSeqLen; ++position) {
      for (int64_t column = 0; column < 4; ++column) {
        const int64_t want = rows.global_row(table, row_of(layer, position, 2 + column / 2, column));
        EXPECT_EQ(host_span<int64_t>(got)[at++], want) << table << " " << position << " " << column;
        EXPECT_TRUE(rows.is_row(want));
      }
    }
  }
}

// Rows of one layer with another setting.
std::vector<int64_t> rows_of(const EngramConfig& config, const std::vector<int32_t>& keys, int64_t num_keys) {
  Stream stream = CpuQueue{};
  const RowLayout layout(rows_per_table(make_ngram_layout(config, num_keys)), 3);
  const MemoryAddresses addresses(stream, config, keys, num_keys, layout);
  Arena arena(Device::kCpu, int64_t{1} << 20, /*poison=*/true);
  const Tensor got = arena.take("rows", DType::kInt64, {kSeqLen * 4});
  addresses.rows(stream, test::tensor_of<int32_t>(arena, kTokens, {1, kHistory + kSeqLen}),
                 test::tensor_of<uint8_t>(arena, kStarts, {1, kHistory + kSeqLen}),
                 arena.take("compressed", DType::kInt32, {1, kHistory + kSeqLen}), got);
  return {host_span<int64_t>(got).begin(), host_span<int64_t>(got).end()};
}

EngramConfig one_layer() {
  EngramConfig config;
  config.layers = {1};
  config.heads = 2;
  config.memory_dim = 8;
  config.rows_per_head = {kRowsPerHead};
  config.pad_token = kPadToken;
  return config;
}

TEST(MemoryAddresses, ConstantOnesAreTheFirstRowOfEachHead) {
  EngramConfig config = one_layer();
  config.addressing = Addressing::kConstant;
  const NgramLayout layout = make_ngram_layout(config, 5);
  const RowLayout rows(rows_per_table(layout), 3);
  const std::vector<int64_t> got = rows_of(config, kKeys, 5);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], rows.global_row(0, layout.layers[0].offsets[i % 4]));
}

TEST(MemoryAddresses, WithoutCompressionEveryTokenIsItsOwnKey) {
  EngramConfig config = one_layer();
  config.compression = false;
  std::vector<int32_t> identity(kKeys.size());
  for (size_t i = 0; i < identity.size(); ++i) identity[i] = static_cast<int32_t>(i);
  EXPECT_EQ(rows_of(config, kKeys, 5), rows_of(one_layer(), identity, 10));
  EXPECT_NE(rows_of(config, kKeys, 5), rows_of(one_layer(), kKeys, 5));
}

TEST(MemoryAddresses, RefuseAPadThatIsNoToken) {
  EngramConfig config;
  config.layers = {0};
  config.memory_dim = 16;
  config.rows_per_head = {kRowsPerHead};
  config.pad_token = 10;
  Stream stream = CpuQueue{};
  const RowLayout rows(rows_per_table(make_ngram_layout(config, 5)), 1);
  const std::string message = test::error_of([&] { MemoryAddresses(stream, config, kKeys, 5, rows); });
  EXPECT_NE(message.find("pad_token is 10, the vocabulary has 10 tokens"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
