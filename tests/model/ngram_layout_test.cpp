#include "model/ngram_layout.h"

#include <set>

#include "kernels/ngram_hash.h"
#include "tests/golden.h"
#include "tests/sha256.h"
#include "tests/testing.h"

namespace engram {
namespace {

using nlohmann::json;

const json& hash_vectors() {
  static const json vectors = test::golden("engram_hash.json");
  return vectors;
}

NgramLayout layout_of(const std::string& name, int64_t compressed_vocab, uint64_t base_seed) {
  for (const json& want : hash_vectors()["layouts"]) {
    if (want["name"] != name) continue;
    return make_ngram_layout({.layers = want["layer_ids"],
                              .max_order = want["max_order"],
                              .heads = want["heads"],
                              .rows_per_head = want["base_per_order"],
                              .compressed_vocab = compressed_vocab,
                              .base_seed = base_seed});
  }
  ADD_FAILURE() << "no golden layout " << name;
  return {};
}

TEST(NgramLayoutTest, MultipliersMatchTheGoldenVectors) {
  for (const json& want : hash_vectors()["multipliers"]) {
    const auto got =
        ngram_multipliers(want["compressed_vocab"], want["max_order"], want["base_seed"], want["layer_id"]);
    ASSERT_EQ(got.size(), want["multipliers"].size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(static_cast<uint64_t>(got[i]), test::wide_integer(want["multipliers"][i]));
    }
  }
}

TEST(NgramLayoutTest, PrimesOffsetsAndRowsMatchTheGoldenVectors) {
  for (const json& want : hash_vectors()["layouts"]) {
    SCOPED_TRACE(want["name"]);
    const NgramLayout layout = layout_of(want["name"], 99092, 0);
    ASSERT_EQ(layout.layers.size(), want["layer_ids"].size());
    std::set<int64_t> distinct;
    int64_t num_rows = 0;
    for (size_t i = 0; i < layout.layers.size(); ++i) {
      const NgramLayer& layer = layout.layers[i];
      std::vector<int64_t> primes;
      for (const json& order : want["primes"][i]) primes.insert(primes.end(), order.begin(), order.end());
      EXPECT_EQ(layer.layer, want["layer_ids"][i].get<int64_t>());
      EXPECT_EQ(layer.primes, primes);
      EXPECT_EQ(layer.offsets, want["offsets"][i].get<std::vector<int64_t>>());
      EXPECT_EQ(layer.num_rows, want["rows"][i].get<int64_t>());
      distinct.insert(primes.begin(), primes.end());
      num_rows += layer.num_rows;
    }
    EXPECT_EQ(static_cast<int64_t>(distinct.size()), layout.num_columns() * std::ssize(layout.layers));
    EXPECT_EQ(layout.num_rows(), num_rows);
    if (!want.contains("table_params")) continue;
    EXPECT_EQ(num_rows * want["head_dim"].get<int64_t>(), want["table_params"].get<int64_t>());
  }
}

TEST(NgramLayoutTest, RefusesValuesOutOfRange) {
  const NgramLayoutConfig good{
      .layers = {1, 4}, .max_order = 3, .heads = 2, .rows_per_head = {31, 31}, .compressed_vocab = 99, .base_seed = 0};
  EXPECT_EQ(test::error_of([&] { make_ngram_layout(good); }), "");
  const auto message = [&](auto&& spoil) {
    NgramLayoutConfig bad = good;
    spoil(bad);
    return test::error_of([&] { make_ngram_layout(bad); });
  };
  const auto has = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << "got: " << text;
  };
  has(message([](auto& c) { c.layers.clear(); }), "no layer");
  has(message([](auto& c) { c.layers = {-1}; }), "layer -1; wanted a zero-based block number");
  has(message([](auto& c) { c.layers = {4, 1, 4}; }), "layer 4 is named twice");
  has(message([](auto& c) { c.max_order = 1; }), "max_order 1; wanted at least 2");
  has(message([](auto& c) { c.heads = 0; }), "heads 0; wanted at least 1");
  has(message([](auto& c) { c.rows_per_head = {31}; }), "rows_per_head has 1 values; wanted one per order, that is 2");
  has(message([](auto& c) { c.rows_per_head = {31, 1}; }), "rows_per_head 1; wanted 2 to");
  has(message([](auto& c) { c.compressed_vocab = 0; }), "compressed_vocab 0; wanted 1 to 1073741823");
  has(message([](auto& c) { c.compressed_vocab = int64_t{1} << 30; }), "compressed_vocab 1073741824; wanted");
}

// One golden case of row numbers, hashed whole or in chunks that carry the ids before them as history.
struct GoldenRows : test::CpuFixture {
  NgramLayout layout;
  int32_t pad = 0;
  std::vector<int32_t> ids;     // DEAD positions are -1
  std::vector<uint8_t> starts;  // empty where the case has no segments

  void load(const json& c) {
    layout = layout_of(c["layout"], c["compressed_vocab"], c.value("base_seed", 0));
    if (c.contains("multipliers_given")) {
      for (size_t i = 0; i < layout.layers.size(); ++i)
        layout.layers[i].multipliers = c["multipliers_given"][i].get<std::vector<int64_t>>();
    }
    pad = c["pad"];
    ids = c["compressed_ids"].get<std::vector<int32_t>>();
    for (size_t i = 0; i < ids.size() && c.contains("dead"); ++i) {
      if (c["dead"][i] != 0) ids[i] = kDeadToken;
    }
    starts.clear();
    for (size_t i = 0; i < ids.size() && c.contains("segment_start"); ++i) starts.push_back(c["segment_start"][i] == i);
  }

  // Rows of positions [begin, begin + count) in one layer; the look-back gets `history` positions, DEAD before the
  // first.
  Tensor hash(const NgramLayer& layer, int64_t begin, int64_t count, int64_t history) {
    std::vector<int32_t> window;
    std::vector<uint8_t> flags;
    for (int64_t at = begin - history; at < begin + count; ++at) {
      window.push_back(at < 0 ? kDeadToken : ids[static_cast<size_t>(at)]);
      if (!starts.empty()) flags.push_back(at >= 0 && starts[static_cast<size_t>(at)]);
    }
    const int64_t length = history + count, num_columns = layout.num_columns();
    const auto constant = [&](const std::vector<int64_t>& values) {
      return test::tensor_of<int64_t>(arena, values, {std::ssize(values)});
    };
    const NgramHashConstants constants{.heads = layout.heads,
                                       .pad_id = pad,
                                       .multipliers = constant(layer.multipliers),
                                       .primes = constant(layer.primes),
                                       .offsets = constant(layer.offsets)};
    const Tensor compressed = test::tensor_of<int32_t>(arena, window, {1, length});
    const Tensor flag_tensor = starts.empty() ? Tensor{} : test::tensor_of<uint8_t>(arena, flags, {1, length});
    const Tensor rows = arena.take("rows", DType::kInt64, {count, num_columns});
    ngram_hash(stream, compressed, flag_tensor, history, constants, rows);
    return rows;
  }

  // All rows as [position][layer][column], from chunks of `chunk` positions.
  std::vector<int64_t> hash_all(int64_t chunk, int64_t history) {
    const auto num_columns = static_cast<size_t>(layout.num_columns()), num_layers = layout.layers.size();
    std::vector<int64_t> all(ids.size() * num_layers * num_columns);
    for (size_t i = 0; i < num_layers; ++i) {
      for (int64_t begin = 0; begin < std::ssize(ids); begin += chunk) {
        Arena::Scope scope(arena);
        const int64_t count = std::min(chunk, std::ssize(ids) - begin);
        const auto rows = host_span<int64_t>(hash(layout.layers[i], begin, count, begin == 0 ? 0 : history));
        for (size_t at = 0; at < rows.size(); ++at) {
          const size_t position = static_cast<size_t>(begin) + at / num_columns;
          all[(position * num_layers + i) * num_columns + at % num_columns] = rows[at];
        }
      }
    }
    return all;
  }
};

std::string digest(const std::vector<int64_t>& rows) {
  return test::sha256(rows.data(), rows.size() * sizeof(int64_t));
}

TEST_F(GoldenRows, EveryCaseMatches) {
  ASSERT_EQ(test::sha256("abc", 3), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  ASSERT_EQ(hash_vectors()["cases"].size(), 20u);
  for (const json& c : hash_vectors()["cases"]) {
    SCOPED_TRACE(c["name"]);
    load(c);
    const std::vector<int64_t> rows = hash_all(std::ssize(ids), 0);
    const size_t num_layers = layout.layers.size(), num_columns = static_cast<size_t>(layout.num_columns());
    std::vector<std::vector<int64_t>> per_layer(num_layers);
    for (size_t i = 0; i < rows.size(); ++i) per_layer[i / num_columns % num_layers].push_back(rows[i]);
    EXPECT_EQ(digest(rows), c["sha256"]);
    for (size_t i = 0; i < num_layers; ++i) EXPECT_EQ(digest(per_layer[i]), c["sha256_per_layer"][i]);

    // listed [position][layer][column]
    const auto expect_rows = [&](const json& listed, size_t first_position) {
      size_t at = first_position * num_layers * num_columns;
      for (const json& position : listed) {
        for (const json& layer : position) {
          for (const json& row : layer) EXPECT_EQ(rows[at++], row.get<int64_t>());
        }
      }
    };
    if (c.contains("rows")) expect_rows(c["rows"], 0);
    if (c.contains("rows_first")) expect_rows(json::array({c["rows_first"]}), 0);
    if (c.contains("rows_last")) expect_rows(json::array({c["rows_last"]}), ids.size() - 1);
  }
}

TEST_F(GoldenRows, ChunksThatCarryHistoryGiveTheSameRows) {
  for (const json& c : hash_vectors()["cases"]) {
    if (c["name"] != "v41_random_512") continue;
    load(c);
    for (const int64_t chunk : {1, 7, 64}) EXPECT_EQ(digest(hash_all(chunk, 3)), c["sha256"]) << chunk;
    EXPECT_NE(digest(hash_all(64, 2)), c["sha256"]) << "two ids of history are too few for 4-grams";
  }
}

}  // namespace
}  // namespace engram
