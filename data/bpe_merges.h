#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace engram {

// The merge rules of a BPE vocabulary: adjacent symbols (left, right) become `merged`; lower ranks first.
class BpeMerges {
 public:
  explicit BpeMerges(int64_t num_rules);

  // Adds a rule; false, and nothing changed, where the pair has one already. At most num_rules may be added.
  bool add(int32_t left, int32_t right, int32_t rank, int32_t merged);

  // Work space of apply(); one per thread.
  struct Scratch {
    struct Candidate {
      int32_t rank, position, left, right, merged;
    };
    std::vector<Candidate> heap;
    std::vector<int32_t> previous, next;
  };

  // Merges until no rule applies: always the lowest rank present, the leftmost pair of it first. O(n log n).
  void apply(std::vector<int32_t>& symbols, Scratch& scratch) const;

 private:
  struct Rule {
    uint64_t pair;
    int32_t rank, merged;
  };
  static constexpr uint64_t kNoPair = ~uint64_t{0};
  size_t slot_of(uint64_t pair) const;
  void push(const std::vector<int32_t>& symbols, int32_t position, Scratch& scratch) const;

  std::vector<Rule> rules_;  // open addressing, a power of two of slots, at most half of them used
  int shift_ = 0;
};

}  // namespace engram
