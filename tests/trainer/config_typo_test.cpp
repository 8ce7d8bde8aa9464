#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "tests/trainer/config_testing.h"
#include "trainer/config_fields.h"
#include "trainer/key_suggestion.h"

namespace engram {
namespace {

using test::refused_set;
using test::small_config;

struct Typo {
  std::string key;      // as it should be, full path
  std::string written;  // full path with the last part misspelt
  int num_edits;
};

// A small generator of its own, so that the corpus is the same everywhere.
struct Draw {
  uint64_t state;
  uint64_t operator()(uint64_t bound) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % bound;
  }
};

// One slip of the fingers: a letter left out, doubled, put in, replaced, or two swapped.
std::string edited(std::string word, Draw& draw) {
  const std::string letters = "abcdefghijklmnopqrstuvwxyz_";
  const size_t at = draw(word.size());
  switch (draw(5)) {
    case 0:
      return word.erase(at, 1);
    case 1:
      return word.insert(at, 1, word[at]);
    case 2:
      return word.insert(at, 1, letters[draw(letters.size())]);
    case 3:
      word[at] = letters[draw(letters.size())];
      return word;
    default:
      std::swap(word[at], word[at + 1 < word.size() ? at + 1 : 0]);
      return word;
  }
}

// Every key with several one- and two-edit typos. Left out is what no rule can tell: words that are keys themselves,
// and words with as many edits as letters.
std::vector<Typo> corpus() {
  std::vector<Typo> typos;
  std::set<std::string> seen;
  Draw draw{20261122};
  for (const FieldInfo& field : config_fields(RunConfig{})) {
    const size_t start = field.path.rfind('.') + 1;
    const std::string name = field.path.substr(start);
    for (int i = 0; i < 16; ++i) {
      const int num_edits = 1 + i % 2;
      std::string word = edited(name, draw);
      if (num_edits == 2 && !word.empty()) word = edited(word, draw);
      const std::string written = field.path.substr(0, start) + word;
      if (word == name || static_cast<int>(word.size()) <= num_edits || !seen.insert(written).second) continue;
      if (edit_distance(word, name) != static_cast<size_t>(num_edits)) continue;
      typos.push_back({field.path, written, num_edits});
    }
  }
  return typos;
}

TEST(ConfigTypos, NearestKeyIsRight) {
  const std::vector<FieldInfo> fields = config_fields(RunConfig{});
  std::map<int, int> right, all;
  std::string wrong;
  for (const Typo& typo : corpus()) {
    const bool is_key =
        std::any_of(fields.begin(), fields.end(), [&](const auto& f) { return f.path == typo.written; });
    if (is_key) continue;
    const std::string message = refused_set({typo.written + "=1"});
    ASSERT_NE(message.find("unknown key"), std::string::npos) << typo.written;
    const std::string want = "did you mean \"" + typo.key.substr(typo.key.rfind('.') + 1) + "\"";
    const bool is_right = message.find(want) != std::string::npos;
    if (!is_right) wrong += typo.key + " as " + message.substr(0, message.find(" (known")) + "\n";
    right[typo.num_edits] += is_right ? 1 : 0;
    all[typo.num_edits] += 1;
  }
  EXPECT_GE(all[1], 250);
  EXPECT_GE(all[2], 250);
  EXPECT_GE(all[1] + all[2], 500);
  const double rate = double(right[1] + right[2]) / (all[1] + all[2]);
  EXPECT_GE(rate, 0.95) << wrong;
  RecordProperty("typos", all[1] + all[2]);
  RecordProperty("right", right[1] + right[2]);
}

TEST(ConfigTypos, NothingIsSuggestedForFarKeys) {
  for (const char* key : {"verbosity", "wandb_project", "fsdp", "tensor_parallel_size", "amp", "xx", "q", "temperature",
                          "dropout", "activation_function", "gradient_checkpointing", "flash", "zz_top"}) {
    for (const char* section : {"", "model.", "model.engram.", "optimizer.dense.", "train."}) {
      const std::string message = refused_set({std::string(section) + key + "=1"});
      EXPECT_NE(message.find("unknown key"), std::string::npos) << message;
      EXPECT_EQ(message.find("did you mean"), std::string::npos) << message;
    }
  }
}

TEST(ConfigTypos, EditDistance) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("abc", ""), 3u);
  EXPECT_EQ(edit_distance("abc", "acb"), 1u);
  EXPECT_EQ(edit_distance("ca", "abc"), 3u);  // optimal string alignment, not full Damerau-Levenshtein
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(nearest_names("lr", {"lx", "ab"}), std::vector<std::string>{"lx"});
  EXPECT_TRUE(nearest_names("ab", {"xy"}).empty());  // as many edits as letters
}

// A value other than the default that is valid beside the small configuration.
std::string other_value(const FieldInfo& field) {
  static const std::map<std::string, std::string> special{
      {"model.attention.kind", "mla"},
      {"model.attention.num_kv_heads", "1"},
      {"model.engram.layers", "[0, 1]"},
      {"model.engram.orders", "[2, 3, 4, 5]"},
      {"model.engram.rows_per_head", "[500, 700]"},
      {"model.connections.streams", "4"},
      {"data.document_mask", "off"},
      {"optimizer.schedule.kind", "step"},
      {"train.micro_batch", "2"},
      {"train.eval_every", "5"},
      {"model.engram.heads", "2"},
      {"model.engram.memory_dim", "128"},
      {"model.attention.head_dim", "32"},
      {"model.attention.num_heads", "8"},
      {"model.num_layers", "5"},
      {"train.global_batch", "64"},
      {"model.vocab_size", "4096"},
      {"parallel.expert", "2"},
      {"parallel.expert_headroom", "2.5"},
      {"parallel.silence_seconds", "4.5"},
  };
  if (const auto found = special.find(field.path); found != special.end()) return found->second;
  if (field.type == "true or false") return field.value == "true" ? "false" : "true";
  if (field.type == "text") return "\"a: b # c\\x01\\\" é\"";
  if (field.type.starts_with("one of ")) return field.type.substr(field.type.rfind(' ') + 1);
  if (field.type.starts_with("an integer")) return field.path == "model.num_dense_layers" ? "0" : "3";
  return "0.3333333333333333";
}

TEST(ConfigKeys, EachCanBeSetAndSurvivesPrinting) {
  int count = 0;
  for (const FieldInfo& field : config_fields(small_config())) {
    if (field.is_section) continue;
    std::string value = other_value(field);
    if (field.path == "run.name") value = "\"a: b # c\"";
    if (field.path == "model.attention.rope_theta") value = "12345.678901234567";
    std::vector<std::string> sets{field.path + "=" + value};
    if (field.path == "model.attention.kind") sets.push_back("model.attention.num_kv_heads=4");
    if (field.path == "model.connections.streams") sets.push_back("model.connections.kind=mhc");
    if (field.path == "model.moe.shared_hidden") sets.push_back("model.moe.num_shared_experts=1");
    if (field.path == "model.engram.addressing") value = "constant", sets[0] = field.path + "=" + value;
    if (field.path == "train.eval_every") sets.push_back("data.validation=v.h5");
    RunConfig config;
    ASSERT_NO_THROW(config = small_config(sets)) << field.path << "=" << value;
    const std::string text = print_config(config);
    if (field.path != "data.document_mask") {  // has one value so far
      EXPECT_NE(text, print_config(small_config())) << field.path;
      EXPECT_NE(config_digest(config), config_digest(small_config())) << field.path;
      const auto differences = config_differences(small_config(), config);
      ASSERT_GE(differences.size(), 1u);
      EXPECT_TRUE(std::any_of(differences.begin(), differences.end(),
                              [&](const std::string& line) { return line.starts_with(field.path + ": "); }));
    }
    EXPECT_EQ(print_config(parse_config(text, "printed.yaml")), text);
    EXPECT_EQ(print_config(parse_config(print_config(config, true), "marked.yaml")), text);
    ++count;
  }
  EXPECT_GE(count, 60);
}

TEST(ConfigKeys, PrintMarksChanges) {
  const std::string text = print_config(small_config({"run.seed=7"}), true);
  EXPECT_NE(text.find("\n  seed: 7  # changed\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\n  dir: runs\n"), std::string::npos) << text;
  std::map<std::string, std::string> default_value;
  for (const ConfigEntry& entry : config_entries(RunConfig{})) default_value[entry.path] = entry.value;
  for (const ConfigEntry& entry : config_entries(small_config({"run.seed=7"}))) {
    EXPECT_EQ(entry.is_default, entry.value == default_value.at(entry.path)) << entry.path;
  }
}

TEST(ConfigKeys, NumbersPrintExactly) {
  for (const double value : {0.1, 1e-20, 1.0 / 3.0, 0.30000000000000004, 2.2250738585072014e-308, 5e-324, 1.0}) {
    const RunConfig config = small_config({"model.norm_eps=" + number_text(value)});
    EXPECT_EQ(config.model.norm_eps, value);
    EXPECT_EQ(parse_config(print_config(config), "printed.yaml").model.norm_eps, value);
  }
}

TEST(ConfigKeys, DifferencesCanBeNarrowed) {
  const RunConfig a = small_config(), b = small_config({"model.norm_eps=0.5", "run.seed=3"});
  EXPECT_EQ(config_differences(a, b), (std::vector<std::string>{"run.seed: 0 -> 3", "model.norm_eps: 1e-06 -> 0.5"}));
  EXPECT_EQ(config_differences(a, b, "model."), std::vector<std::string>{"model.norm_eps: 1e-06 -> 0.5"});
  EXPECT_TRUE(config_differences(a, a).empty());
}

TEST(ConfigKeys, Explain) {
  EXPECT_EQ(explain_key("model.engram.heads"),
            "model.engram.heads: an integer in [1, 1024], default 8\n    hash heads per order\n");
  EXPECT_NE(explain_key("model.hidden").find("required"), std::string::npos);
  EXPECT_NE(explain_key("optimizer").find("optimizer.clip.scope: one of all, separate, default all"),
            std::string::npos);
  EXPECT_EQ(explain_key("optimizer").find("train.steps"), std::string::npos);
  EXPECT_NE(test::refusal([] { explain_key("train.step"); }).find("did you mean \"train.steps\""), std::string::npos);
  EXPECT_NE(test::refusal([] { explain_key("steps"); }).find("did you mean \"train.steps\""), std::string::npos);
  for (const FieldInfo& field : config_fields(RunConfig{})) EXPECT_FALSE(field.meaning.empty()) << field.path;
}

}  // namespace
}  // namespace engram
