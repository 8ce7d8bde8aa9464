#include "data/bpe_merges.h"

#include <algorithm>
#include <bit>
#include <cassert>

namespace engram {
namespace {

uint64_t pair_of(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

// Order of a heap whose top is the lowest rank, leftmost.
bool comes_later(const BpeMerges::Scratch::Candidate& a, const BpeMerges::Scratch::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
}

}  // namespace

BpeMerges::BpeMerges(int64_t num_rules) {
  const size_t slots = std::bit_ceil(static_cast<size_t>(2 * num_rules + 2));
  rules_.assign(slots, {kNoPair, 0, 0});
  shift_ = 64 - std::countr_zero(slots);
}

size_t BpeMerges::slot_of(uint64_t pair) const {
  size_t slot = (pair * 0x9E3779B97F4A7C15u) >> shift_;  // Fibonacci hashing
  while (rules_[slot].pair != pair && rules_[slot].pair != kNoPair) slot = (slot + 1) & (rules_.size() - 1);
  return slot;
}

bool BpeMerges::add(int32_t left, int32_t right, int32_t rank, int32_t merged) {
  const uint64_t pair = pair_of(left, right);
  Rule& rule = rules_[slot_of(pair)];
  if (rule.pair == pair) return false;
  rule = {pair, rank, merged};
  return true;
}

void BpeMerges::push(const std::vector<int32_t>& symbols, int32_t position, Scratch& scratch) const {
  const auto at = static_cast<size_t>(position);
  const auto right = static_cast<size_t>(scratch.next[at]);
  if (right >= symbols.size()) return;
  const Rule& rule = rules_[slot_of(pair_of(symbols[at], symbols[right]))];
  if (rule.pair == kNoPair) return;
  scratch.heap.push_back({rule.rank, position, symbols[at], symbols[right], rule.merged});
  std::push_heap(scratch.heap.begin(), scratch.heap.end(), comes_later);
}

void BpeMerges::apply(std::vector<int32_t>& symbols, Scratch& scratch) const {
  constexpr int32_t kGone = -1;
  const auto size = static_cast<int32_t>(symbols.size());
  assert(symbols.size() == static_cast<size_t>(size));  // texts of 2 GiB and more are refused by the encoder
  scratch.heap.clear();
  scratch.previous.resize(symbols.size());
  scratch.next.resize(symbols.size());
  for (int32_t i = 0; i < size; ++i) {
    scratch.previous[static_cast<size_t>(i)] = i - 1;
    scratch.next[static_cast<size_t>(i)] = i + 1;
  }
  for (int32_t i = 0; i + 1 < size; ++i) push(symbols, i, scratch);

  while (!scratch.heap.empty()) {
    std::pop_heap(scratch.heap.begin(), scratch.heap.end(), comes_later);
    const Scratch::Candidate best = scratch.heap.back();
    scratch.heap.pop_back();
    const auto at = static_cast<size_t>(best.position);
    const int32_t right = scratch.next[at];
    if (symbols[at] != best.left || right >= size || symbols[static_cast<size_t>(right)] != best.right) continue;
    symbols[at] = best.merged;
    symbols[static_cast<size_t>(right)] = kGone;
    const int32_t after = scratch.next[static_cast<size_t>(right)];
    scratch.next[at] = after;
    if (after < size) scratch.previous[static_cast<size_t>(after)] = best.position;
    if (scratch.previous[at] >= 0) push(symbols, scratch.previous[at], scratch);
    push(symbols, best.position, scratch);
  }
  symbols.erase(std::remove(symbols.begin(), symbols.end(), kGone), symbols.end());
}

}  // namespace engram
