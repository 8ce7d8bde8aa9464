#include "trainer/explain.h"

#include <regex>

#include "kernels/core/device.h"
#include "model/memory_addresses.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/commands.h"
#include "trainer/generate.h"

namespace engram {
namespace {

struct ExplainTest : ::testing::Test {
  RunConfig config = test::tiny_run();
  RunTokenizer tokenizer = load();

  RunTokenizer load() {
    config.model.vocab_size = 8192;
    config.data.tokenizer = std::string(ENGRAM_SOURCE_DIR) + "/data/tokenizers/english_8k/tokenizer.json";
    return load_tokenizer(config);
  }
  Explanation explained(const std::string& text) {
    return explain(tokenizer.tokenizer.encode(text), tokenizer, config.model.engram);
  }
  // The rows of some tokens in every layer.
  static std::vector<std::vector<int64_t>> rows_of(const Explanation& e, int64_t first, int64_t count) {
    std::vector<std::vector<int64_t>> parts;
    const int64_t columns = e.layout.num_columns();
    for (const std::vector<int64_t>& rows : e.rows) {
      parts.emplace_back(rows.begin() + first * columns, rows.begin() + (first + count) * columns);
    }
    return parts;
  }
};

TEST_F(ExplainTest, RowsAreThoseThatTheModelFetches) {
  config.model.engram.orders = {2, 3, 4};
  config.model.engram.pad_token = 1;
  Explanation e = explained("The history of Rome<|endoftext|>The history");
  const auto num_tokens = static_cast<int64_t>(e.tokens.size());
  const RowLayout layout(rows_per_table(e.layout), 1);
  Stream stream = CpuQueue{};
  const MemoryAddresses addresses(stream, config.model.engram, tokenizer.vocabulary.map(),
                                  tokenizer.vocabulary.num_keys(), layout);
  // The look-back before the first token is of another document.
  const int64_t history = addresses.history(), length = history + num_tokens;
  std::vector<int32_t> tokens(static_cast<size_t>(history), 77);
  std::vector<uint8_t> starts(static_cast<size_t>(history), 0);
  tokens.insert(tokens.end(), e.tokens.begin(), e.tokens.end());
  starts.insert(starts.end(), e.starts.begin(), e.starts.end());

  Arena arena(Device::kCpu, int64_t{1} << 20, /*poison=*/true);
  const int64_t per_layer = num_tokens * e.layout.num_columns();
  const Tensor rows = arena.take("rows", DType::kInt64, {2 * per_layer});
  addresses.rows(stream, test::tensor_of(arena, tokens, {1, length}), test::tensor_of(arena, starts, {1, length}),
                 arena.take("compressed", DType::kInt32, {1, length}), rows);
  for (int64_t table = 0; table < 2; ++table) {
    for (int64_t i = 0; i < per_layer; ++i) {
      const int64_t row = e.rows[static_cast<size_t>(table)][static_cast<size_t>(i)];
      ASSERT_EQ(host_span<int64_t>(rows)[static_cast<size_t>(table * per_layer + i)], layout.global_row(table, row));
    }
  }
}

TEST_F(ExplainTest, DocumentsDoNotSeeOneAnotherUnlessTheWholeSequenceIsOne) {
  const std::string text = "The history of Rome";
  const Explanation alone = explained(text), twice = explained(text + "<|endoftext|>" + text);
  const auto count = static_cast<int64_t>(alone.tokens.size());
  EXPECT_EQ(rows_of(twice, 0, count), alone.rows);
  EXPECT_EQ(rows_of(twice, count + 1, count), alone.rows);
  config.model.engram.boundary = NgramBoundary::kSequence;
  const Explanation together = explained(text + "<|endoftext|>" + text);
  EXPECT_NE(rows_of(together, count + 1, 1), rows_of(alone, 0, 1));
  EXPECT_EQ(rows_of(together, count + 3, count - 2), rows_of(alone, 2, count - 2));  // all they see is the same
}

TEST_F(ExplainTest, ControlsOfExperimentsAreRefused) {
  const auto refused = [&] { return test::error_of([&] { explained("text"); }); };
  config.model.engram.fusion = MemoryFusion::kHalf;
  EXPECT_NE(refused().find("model.engram.fusion half, wanted gate"), std::string::npos);
  config.model.engram.fusion = MemoryFusion::kGate;
  config.model.engram.addressing = Addressing::kConstant;
  EXPECT_NE(refused().find("model.engram.addressing constant, wanted hash"), std::string::npos);
  config.model.engram.addressing = Addressing::kHash;
  config.model.engram.compression = false;
  EXPECT_NE(refused().find("model.engram.compression false, wanted true"), std::string::npos);
}

TEST_F(ExplainTest, GatesAreThoseOfAForwardPass) {
  run_ranks(2, [&](Communicator& world) {
    Replica replica(config, world, tokenizer.map(), DType::kFloat32);
    for (int i = 0; i < 3; ++i) test::made_up_step(replica);
    Explanation e = explained("The history<|endoftext|>of Rome");
    e.gates = engram_gates(replica, e);
    ASSERT_EQ(e.gates.size(), 2u);
    // At any place the gates are those of the text up to there.
    for (size_t length = 1; length <= e.tokens.size(); ++length) {
      Explanation start = explain({e.tokens.begin(), e.tokens.begin() + static_cast<std::ptrdiff_t>(length)}, tokenizer,
                                  config.model.engram);
      const auto gates = engram_gates(replica, start);
      for (size_t layer = 0; layer < 2; ++layer) {
        ASSERT_EQ(gates[layer].size(), length);
        EXPECT_NEAR(gates[layer].back(), e.gates[layer][length - 1], 1e-5);
        EXPECT_GT(gates[layer].back(), 0);
        EXPECT_LT(gates[layer].back(), 1);
      }
    }
    EXPECT_NE(e.gates[0][1], e.gates[0][2]);
    const Explanation long_text = explained(std::string(200, '.') + "The history of Rome and of all that came after");
    EXPECT_NE(
        test::error_of([&] { engram_gates(replica, long_text); }).find("tokens, the model sees 12 (data.seq_len)"),
        std::string::npos);
  });
}

TEST_F(ExplainTest, RefusesWhatHasNothingToExplain) {
  EXPECT_NE(test::error_of([&] { explained(""); }).find("the text has no token"), std::string::npos);
  config.model.engram.layers = {};
  EXPECT_NE(test::error_of([&] { explained("a"); }).find("model.engram.layers is empty"), std::string::npos);
}

// An explanation whose numbers are known.
Explanation made_up(const RunTokenizer& tokenizer) {
  Explanation e{.tokens = tokenizer.tokenizer.encode("The\n<|endoftext|>"),
                .starts = {1, 0, 1},
                .keys = {},
                .layout = {.max_order = 3, .heads = 2, .layers = {}},
                .rows = {{1, 2, 3, 4, 11, 12, 13, 14, 21, 22, 23, 24}, {5, 6, 7, 8, 15, 16, 17, 18, 25, 26, 27, 128}},
                .gates = {{0, 0.5, 1}, {0.25, 0.1, 0.12345}}};
  for (const int32_t token : e.tokens) e.keys.push_back(tokenizer.vocabulary.key_of(token));
  for (const int64_t layer : {1, 12}) {
    e.layout.layers.push_back({.layer = layer, .multipliers = {}, .primes = {}, .offsets = {}, .num_rows = 10 * layer});
  }
  return e;
}

TEST_F(ExplainTest, TextSaysEverythingOfEachToken) {
  const std::string text = explanation_text(made_up(tokenizer), tokenizer, /*colored=*/false);
  EXPECT_EQ(text, R"(3 tokens; the tokenizer's 8192 ids are 6619 keys
n-grams of 2 to 3 tokens, 2 heads each; memory in layers 1, 12, with tables of 10, 120 rows
∅: not seen, before the start of the document

  0  "The"  id 416, key 231 "the", which 4 ids share
     2-gram  layer  1  rows   1   2   ∅ · the
             layer 12  rows   5   6
     3-gram  layer  1  rows   3   4   ∅ · ∅ · the
             layer 12  rows   7   8
     gate    layer  1  0.000 ░░░░░░░░░░░░░░░░░░░░
             layer 12  0.250 █████░░░░░░░░░░░░░░░

  1  "\n"  id 200, key 173 " ", which 14 ids share
     2-gram  layer  1  rows  11  12   the · ␣
             layer 12  rows  15  16
     3-gram  layer  1  rows  13  14   ∅ · the · ␣
             layer 12  rows  17  18
     gate    layer  1  0.500 ██████████░░░░░░░░░░
             layer 12  0.100 ██░░░░░░░░░░░░░░░░░░

     a new document: nothing before it is seen
  2  "<|endoftext|>"  id 0, key 0 "<|endoftext|>"
     2-gram  layer  1  rows  21  22   ∅ · <|endoftext|>
             layer 12  rows  25  26
     3-gram  layer  1  rows  23  24   ∅ · ∅ · <|endoftext|>
             layer 12  rows  27 128
     gate    layer  1  1.000 ████████████████████
             layer 12  0.123 ██░░░░░░░░░░░░░░░░░░
)");
}

TEST_F(ExplainTest, ColorsAddNothingButTheShadedText) {
  Explanation e = made_up(tokenizer);
  const std::regex escapes("\033\\[[0-9;]*m");
  const std::string shaded = explanation_text(e, tokenizer, /*colored=*/true);
  EXPECT_NE(std::regex_replace(shaded, escapes, "").find("\nlayer 12  The\\n<|endoftext|>\n"), std::string::npos);
  EXPECT_NE(shaded.find("\033[38;5;16;48;5;231mThe\033[0m"), std::string::npos) << shaded;            // gate 0
  EXPECT_NE(shaded.find("\033[38;5;16;48;5;196m<|endoftext|>\033[0m"), std::string::npos) << shaded;  // gate 1
  e.gates.clear();
  EXPECT_EQ(std::regex_replace(explanation_text(e, tokenizer, true), escapes, ""),
            explanation_text(e, tokenizer, false));
}

TEST_F(ExplainTest, PiecesThatAreNoTextAreEscaped) {
  Explanation e = made_up(tokenizer);
  e.tokens[1] = tokenizer.tokenizer.encode("\u20AC").at(0);
  e.tokens[2] = tokenizer.tokenizer.encode("\x01").at(0);
  const std::string text = explanation_text(e, tokenizer, false);
  EXPECT_NE(text.find("  1  \"\\xE2"), std::string::npos) << text;
  EXPECT_NE(text.find("  2  \"\\x01\"  id "), std::string::npos) << text;
}

}  // namespace
}  // namespace engram
