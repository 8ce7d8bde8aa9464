#include "kernels/core/arena.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>

namespace engram {
namespace {
constexpr int64_t kAlignment = 256;
}  // namespace

Arena::Arena(Device device, int64_t num_bytes, bool poison)
    : buffer_(device, num_bytes), base_(static_cast<char*>(buffer_.data())), capacity_(num_bytes), poison_(poison) {}

Arena Arena::dry() {
  Arena arena;
  arena.base_ = reinterpret_cast<char*>(kAlignment);  // never read or written
  arena.capacity_ = std::numeric_limits<int64_t>::max();
  return arena;
}

Tensor Arena::take(const char* name, DType dtype, std::initializer_list<int64_t> shape) {
  const Tensor tensor(base_ + used_, dtype, shape);
  const int64_t num_bytes = (tensor.num_bytes() + kAlignment - 1) / kAlignment * kAlignment;
  ENGRAM_CHECK(num_bytes <= capacity_ - used_, "arena: \"", name, "\" needs ", num_bytes, " bytes, ", capacity_ - used_,
               " of ", capacity_, " are left; lower train.micro_batch");
  used_ += num_bytes;
  entries_.push_back({name, num_bytes});
  if (used_ > peak_) {
    peak_ = used_;
    entries_at_peak_ = entries_;
  }
  if (poison_) std::memset(tensor.data, 0xff, static_cast<size_t>(tensor.num_bytes()));
  return tensor;
}

std::string Arena::report() const {
  std::map<std::string, int64_t> bytes_by_name;
  for (const Entry& entry : entries_at_peak_) bytes_by_name[entry.name] += entry.num_bytes;
  std::vector<std::pair<int64_t, std::string>> lines;
  for (const auto& [name, num_bytes] : bytes_by_name) lines.emplace_back(num_bytes, name);
  std::sort(lines.rbegin(), lines.rend());
  std::string text;
  for (const auto& [num_bytes, name] : lines) text += std::to_string(num_bytes) + " " + name + "\n";
  return text;
}

}  // namespace engram
