#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/unique_rows_impl.h"

namespace engram {

void run(CpuQueue&, const UniqueRows& a) {
  std::vector<std::pair<int64_t, int32_t>> sorted;  // key, position
  sorted.reserve(static_cast<size_t>(a.keys.size(0)));
  for (int64_t i = 0; i < a.keys.size(0); ++i) {
    if (a.keys(i) < 0)
      a.inverse(i) = -1;
    else
      sorted.emplace_back(a.keys(i), static_cast<int32_t>(i));
  }
  std::sort(sorted.begin(), sorted.end());
  int64_t count = 0;
  int32_t num_sorted = 0;
  for (const auto& [key, position] : sorted) {
    if (count == 0 || a.unique(count - 1) != key) {
      a.offsets(count) = num_sorted;
      a.unique(count++) = key;
    }
    a.inverse(position) = count - 1;
    a.order(num_sorted++) = position;
  }
  a.offsets(count) = num_sorted;
  a.count(0) = count;
}

}  // namespace engram
