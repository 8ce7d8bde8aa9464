#include "trainer/eval_tokens.h"

#include <algorithm>

#include "kernels/core/check.h"

namespace engram {

ScoredTokens tokens_of(BpeEncoder& encoder, int32_t start, const ScoredText& text) {
  ENGRAM_CHECK(!text.continuation.empty(), "evaluation: nothing to score after \"", text.context, "\"");
  const size_t context_end = text.context.find_last_not_of(" \t\r\n") + 1;  // 0 for white space alone
  std::vector<int32_t> context{start}, whole{start};
  encoder.encode(text.context.substr(0, context_end), context, AddedTokenPolicy::kText);
  encoder.encode(text.context + text.continuation, whole, AddedTokenPolicy::kText);
  const auto boundary = std::mismatch(whole.begin(), whole.end(), context.begin(), context.end()).first;
  return {.tokens = whole, .num_scored = whole.end() - boundary};
}

std::vector<ScoredTokens> windows_of(const ScoredTokens& all, int64_t seq_len, int64_t history) {
  const auto num_tokens = static_cast<int64_t>(all.tokens.size());
  std::vector<ScoredTokens> windows;
  for (int64_t begin = num_tokens - all.num_scored; begin < num_tokens; begin += seq_len) {
    const int64_t end = std::min(begin + seq_len, num_tokens);
    const int64_t first = std::max<int64_t>(0, end - 1 - seq_len - history);
    windows.push_back({.tokens = {all.tokens.begin() + first, all.tokens.begin() + end}, .num_scored = end - begin});
  }
  return windows;
}

}  // namespace engram
