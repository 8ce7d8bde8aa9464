#include "tests/data/temporary_directory.h"
#include "tests/fuzz/fuzz.h"
#include "trainer/config.h"
#include "trainer/eval_items.h"
#include "trainer/eval_tokens.h"

// What `eval --tasks` reads, up to three files with a line "===" between them: the tasks, the items of each, and the
// sentences of facts. What is taken is cut into the tokens that are scored.
namespace engram::fuzz {
namespace {

constexpr std::string_view kBoundary = "\n===\n";

// Cuts the next file off the front.
std::string next_file(std::string_view& files) {
  const size_t end = std::min(files.find(kBoundary), files.size());
  const std::string file(files.substr(0, end));
  files.remove_prefix(std::min(end + kBoundary.size(), files.size()));
  return file;
}

void check_tokens(BpeEncoder& encoder, const EvalItem& item) {
  constexpr int64_t kSeqLen = 8, kHistory = 2;
  for (const ScoredText& text : item.texts) {
    const ScoredTokens tokens = tokens_of(encoder, 0, text);
    must_hold(tokens.num_scored > 0 && tokens.num_scored < std::ssize(tokens.tokens), "some tokens are scored");
    int64_t num_scored = 0;
    for (const ScoredTokens& window : windows_of(tokens, kSeqLen, kHistory)) num_scored += window.num_scored;
    must_hold(num_scored == tokens.num_scored, "windows score each token once");
  }
}

}  // namespace

bool reads(std::string_view input) {
  static const BpeTokenizer kTokenizer =
      BpeTokenizer::load(ENGRAM_SOURCE_DIR "/data/tokenizers/english_8k/tokenizer.json");
  static const test::TemporaryDirectory kDirectory;
  test::write_file(kDirectory / "tasks.yaml", next_file(input));
  const std::string items = next_file(input);
  for (const char* name : {"items.jsonl", "items.txt"}) test::write_file(kDirectory / name, items);
  test::write_file(kDirectory / "sentences.json", next_file(input));

  std::vector<EvalTask> tasks;
  if (!accepts<ConfigError>([&] { tasks = load_eval_tasks(kDirectory / "tasks.yaml"); })) return false;
  BpeEncoder encoder(kTokenizer);
  bool is_taken = true;
  for (EvalTask& task : tasks) {
    task.file = task.file.ends_with(".jsonl") ? "items.jsonl" : "items.txt";  // none that an input names
    task.templates = "sentences.json";
    is_taken &= accepts([&] {
      for (const EvalItem& item : read_eval_items(task, kDirectory.path(), kTokenizer).items) {
        check_tokens(encoder, item);
      }
    });
  }
  return is_taken;
}

}  // namespace engram::fuzz
