#include "parallel/zero.h"

#include <algorithm>
#include <numeric>

#include "kernels/core/check.h"

namespace engram {
namespace {

// Elements; 128 bytes of bfloat16, so that vector loads and cache lines never straddle two parameters or parts.
constexpr int64_t kAlignment = 64;

int64_t align(int64_t count) { return (count + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

OwnershipMap::OwnershipMap(std::span<const int64_t> numels, int num_ranks, ZeroPolicy policy)
    : numels_(numels.begin(), numels.end()), offsets_(numels.size()), order_(numels.size()), num_ranks_(num_ranks) {
  ENGRAM_CHECK(num_ranks >= 1, "ownership map: got ", num_ranks, " ranks, wanted at least 1");
  for (const int64_t numel : numels_) {
    ENGRAM_CHECK(numel >= 0, "ownership map: got a parameter of ", numel, " elements, wanted 0 or more");
  }
  std::iota(order_.begin(), order_.end(), int64_t{0});
  if (policy == ZeroPolicy::kFlat)
    lay_out_flat();
  else
    lay_out_whole();
  const auto offset = [&](int64_t parameter) { return flat_offset(parameter); };
  std::ranges::stable_sort(order_, {}, offset);
}

void OwnershipMap::lay_out_flat() {
  int64_t end = 0;
  for (size_t i = 0; i < numels_.size(); ++i) {
    offsets_[i] = end;
    end += align(numels_[i]);
  }
  part_size_ = align((end + num_ranks_ - 1) / num_ranks_);
}

void OwnershipMap::lay_out_whole() {
  std::vector<size_t> by_size(order_.begin(), order_.end());
  std::ranges::stable_sort(by_size, std::ranges::greater{}, [&](size_t i) { return numels_[i]; });
  std::vector<int64_t> used(static_cast<size_t>(num_ranks_), 0);
  std::vector<size_t> owner(numels_.size());
  for (const size_t i : by_size) {
    owner[i] = static_cast<size_t>(std::ranges::min_element(used) - used.begin());
    used[owner[i]] += align(numels_[i]);
  }
  part_size_ = std::ranges::max(used);
  std::vector<int64_t> end(used.size());
  for (size_t rank = 0; rank < end.size(); ++rank) end[rank] = static_cast<int64_t>(rank) * part_size_;
  for (size_t i = 0; i < numels_.size(); ++i) {
    offsets_[i] = end[owner[i]];
    end[owner[i]] += align(numels_[i]);
  }
}

std::vector<ParameterSlice> OwnershipMap::slices(int rank) const {
  std::vector<ParameterSlice> result;
  const int64_t begin = rank * part_size_, end = begin + part_size_;
  for (const int64_t parameter : order_) {
    const int64_t at = flat_offset(parameter), numel = numels_[static_cast<size_t>(parameter)];
    const int64_t from = std::max(begin, at), to = std::min(end, at + numel);
    if (from < to) result.push_back({.parameter = parameter, .offset = from - at, .count = to - from});
  }
  return result;
}

}  // namespace engram
