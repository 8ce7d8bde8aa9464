#include "trainer/eval_run.h"

#include <algorithm>
#include <map>

#include "trainer/score.h"

namespace engram {
namespace {

// An item as the model gets it.
struct TokenisedItem {
  ScoredItem item;                   // without scores yet
  std::vector<ScoredTokens> tokens;  // of each of its texts
  std::string group;
  bool is_cut = false;
};

// Items of a task for one model, as tokens.
class Tokenised {
 public:
  Tokenised(const Replica& replica, const BpeTokenizer& tokenizer, int32_t end_of_text)
      : tokenizer_(tokenizer),
        encoder_(tokenizer),
        end_of_text_(end_of_text),
        seq_len_(replica.config.data.seq_len),
        history_(replica.history()) {}

  // Each window of a document is an item.
  void add_document(const EvalItem& document) {
    const ScoredTokens all = tokens_of(encoder_, end_of_text_, document.texts[0]);
    for (ScoredTokens& window : windows_of(all, seq_len_, history_)) {
      int64_t num_bytes = 0;
      for (auto token = window.tokens.end() - window.num_scored; token != window.tokens.end(); ++token) {
        num_bytes += std::ssize(tokenizer_.bytes(*token));
      }
      TokenisedItem& item = items_.emplace_back();
      item.item.texts.push_back({.num_tokens = window.num_scored, .num_bytes = num_bytes});
      item.tokens.push_back(std::move(window));
    }
  }

  void add(const EvalItem& item) {
    TokenisedItem result;
    result.item.answer = item.answer;
    result.group = item.group;
    for (const ScoredText& text : item.texts) {
      const ScoredTokens tokens = tokens_of(encoder_, end_of_text_, text);
      if (tokens.num_scored > seq_len_) {
        ++num_left_out_;
        return;
      }
      const size_t blank = std::min(text.continuation.find_first_not_of(" \t\r\n"), text.continuation.size());
      result.item.texts.push_back(
          {.num_tokens = tokens.num_scored, .num_bytes = static_cast<int64_t>(text.continuation.size() - blank)});
      result.is_cut = result.is_cut || std::ssize(tokens.tokens) - 1 > seq_len_;
      result.tokens.push_back(tokens);
    }
    items_.push_back(std::move(result));
  }

  // `num_samples` of the items, spread evenly; all for 0.
  std::vector<TokenisedItem> take(int64_t num_samples) {
    const auto count = std::ssize(items_);
    if (num_samples == 0 || num_samples >= count) return std::move(items_);
    std::vector<TokenisedItem> chosen;
    for (int64_t i = 0; i < num_samples; ++i) {
      chosen.push_back(std::move(items_[static_cast<size_t>(i * count / num_samples)]));
    }
    return chosen;
  }
  int64_t num_left_out() const { return num_left_out_; }

 private:
  const BpeTokenizer& tokenizer_;
  BpeEncoder encoder_;
  int32_t end_of_text_;
  int64_t seq_len_, history_;
  std::vector<TokenisedItem> items_;
  int64_t num_left_out_ = 0;
};

// Fills in what the model says of every text.
void score_items(Replica& replica, std::vector<TokenisedItem>& items, int32_t end_of_text) {
  std::vector<ScoredTokens> all;
  for (TokenisedItem& item : items) std::move(item.tokens.begin(), item.tokens.end(), std::back_inserter(all));
  const std::vector<SequenceScore> scores = score(replica, all, end_of_text);
  auto next = scores.begin();
  for (TokenisedItem& item : items) {
    for (TextScore& text : item.item.texts) {
      text.nats = next->nats;
      text.worst_rank = next++->worst_rank;
    }
  }
}

}  // namespace

EvalResult run_eval_task(Replica& replica, const BpeTokenizer& tokenizer, const EvalTask& task, const EvalItems& items,
                         int64_t num_samples) {
  const auto end_of_text = tokenizer.end_of_text();
  ENGRAM_CHECK(end_of_text, "eval: the tokenizer has no end-of-text token to start an item with");
  Tokenised tokenised(replica, tokenizer, *end_of_text);
  for (const EvalItem& item : items.items) {
    task.kind == EvalKind::kLoss ? tokenised.add_document(item) : tokenised.add(item);
  }
  std::vector<TokenisedItem> chosen = tokenised.take(num_samples);
  ENGRAM_CHECK(!chosen.empty(), "eval: no item of task \"", task.name, "\" fits data.seq_len, which is ",
               replica.config.data.seq_len);
  score_items(replica, chosen, *end_of_text);

  const int64_t vocabulary = replica.config.model.vocab_size;
  EvalResult result{
      .task = task, .file_digest = items.digest, .num_left_out = items.num_left_out + tokenised.num_left_out()};
  std::map<std::string, std::vector<ScoredItem>> by_group;
  for (const TokenisedItem& item : chosen) {
    result.items.push_back(item.item);
    result.num_cut += item.is_cut ? 1 : 0;
    if (!task.group_by.empty()) by_group[item.group].push_back(item.item);
  }
  result.measures = measures_of(task.kind, result.items, vocabulary);
  for (const auto& [name, of_group] : by_group) {
    result.groups.push_back({name, std::ssize(of_group), measures_of(task.kind, of_group, vocabulary)});
  }
  return result;
}

}  // namespace engram
