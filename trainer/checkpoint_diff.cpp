#include "trainer/checkpoint_diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/fields.h"
#include "trainer/checkpoint.h"
#include "trainer/config.h"

namespace engram {
namespace {

constexpr int64_t kElementsAtOnce = int64_t{1} << 20;

struct Difference {
  int64_t num_different = 0;  // in any bit
  double largest = 0;         // NaN where one of the values is
};

template <class T>
Difference compare(const CheckpointReader& a, const CheckpointReader& b, const std::string& name) {
  const DatasetInfo& info = a.arrays().at(name);
  const int64_t at_once = std::max<int64_t>(1, kElementsAtOnce / row_elements(info));
  Difference difference;
  std::vector<T> left, right;
  for (int64_t first = 0; first < info.shape[0]; first += at_once) {
    const int64_t num_rows = std::min(at_once, info.shape[0] - first);
    const auto read = [&](const CheckpointReader& checkpoint, std::vector<T>& values) {
      values.resize(static_cast<size_t>(num_rows * row_elements(info)));
      FileTarget rows = std::span<T>(values);
      rows.shape = info.shape;
      rows.shape[0] = num_rows;
      checkpoint.read_rows(name, first, rows);
    };
    read(a, left);
    read(b, right);
    for (size_t i = 0; i < left.size(); ++i) {
      if (std::memcmp(&left[i], &right[i], sizeof(T)) == 0) continue;
      ++difference.num_different;
      const double distance = std::abs(static_cast<double>(left[i]) - static_cast<double>(right[i]));
      if (!(distance <= difference.largest)) difference.largest = distance;
    }
  }
  return difference;
}

Difference compare(FileType type, const CheckpointReader& a, const CheckpointReader& b, const std::string& name) {
  switch (type) {
    case FileType::kFloat32:
      return compare<float>(a, b, name);
    case FileType::kFloat64:
      return compare<double>(a, b, name);
    case FileType::kInt32:
      return compare<int32_t>(a, b, name);
    default:
      ENGRAM_FAIL(a.path(), ": ", name, ": arrays of ", name_of(type),
                  " are not compared; wanted float32, float64 or int32");
  }
}

std::string array_difference(const CheckpointReader& a, const CheckpointReader& b, const std::string& name) {
  const auto left = a.arrays().find(name), right = b.arrays().find(name);
  if (right == b.arrays().end()) return fmt::format("{}: only in the first\n", name);
  if (left == a.arrays().end()) return fmt::format("{}: only in the second\n", name);
  const DatasetInfo &x = left->second, &y = right->second;
  if (x.type != y.type || x.shape != y.shape) {
    return fmt::format("{}: {} {} -> {} {}\n", name, name_of(x.type), number_text(x.shape), name_of(y.type),
                       number_text(y.shape));
  }
  const Difference difference = compare(x.type, a, b, name);
  if (difference.num_different == 0) return {};
  return fmt::format("{}: {} of {} values differ, by {:.3g} at most\n", name, difference.num_different,
                     x.shape[0] * row_elements(x), difference.largest);
}

}  // namespace

std::string checkpoint_differences(const CheckpointReader& a, const CheckpointReader& b) {
  std::string text;
  if (a.manifest().step != b.manifest().step) {
    text += fmt::format("step: {} -> {}\n", a.manifest().step, b.manifest().step);
  }
  for (const std::string& line : config_differences(checkpoint_config(a.path()), checkpoint_config(b.path()))) {
    text += line + "\n";
  }
  std::map<std::string, DatasetInfo> names = a.arrays();
  names.insert(b.arrays().begin(), b.arrays().end());
  for (const auto& [name, info] : names) text += array_difference(a, b, name);
  return text.empty() ? "equal\n" : text;
}

}  // namespace engram
