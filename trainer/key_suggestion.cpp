#include "trainer/key_suggestion.h"

#include <algorithm>

namespace engram {
namespace {

constexpr size_t kMaxEdits = 2;

size_t common_prefix(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

}  // namespace

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before_last(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      const bool is_swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (is_swap) row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
    before_last.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

std::vector<std::string> nearest_names(std::string_view name, const std::vector<std::string>& candidates) {
  size_t least = kMaxEdits + 1;
  std::vector<std::string> nearest;
  for (const std::string& candidate : candidates) {
    if (name.size() > candidate.size() + kMaxEdits) continue;  // keys from a file can be very long
    const size_t distance = edit_distance(name, candidate);
    if (distance >= name.size() || distance > least || distance > kMaxEdits) continue;
    if (distance < least) nearest.clear();
    least = distance;
    nearest.push_back(candidate);
  }
  std::stable_sort(nearest.begin(), nearest.end(), [&](const std::string& a, const std::string& b) {
    return common_prefix(name, a) > common_prefix(name, b);
  });
  return nearest;
}

std::string suggestion_text(const std::vector<std::string>& names) {
  if (names.empty()) return {};
  std::string text = "; did you mean ";
  for (size_t i = 0; i < names.size(); ++i) text += (i > 0 ? " or \"" : "\"") + names[i] + "\"";
  return text + "?";
}

}  // namespace engram
