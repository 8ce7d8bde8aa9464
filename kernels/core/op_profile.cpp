#include "kernels/core/op_profile.h"

#include <algorithm>
#include <map>
#include <string_view>

namespace engram {
namespace {

// The function of a source location without its type, namespaces and parameters.
std::string_view function_of(const std::source_location& where) {
  std::string_view name = where.function_name();
  name = name.substr(0, name.find('('));
  const size_t begin = name.find_last_of(" :");
  return begin == std::string_view::npos ? name : name.substr(begin + 1);
}

// The calling function; after the op's name where it is a helper that only its file knows ("rms_norm_backward").
std::string name_of_op(const char* op, const std::source_location& where) {
  const bool is_helper = std::string_view(where.function_name()).find("anonymous") != std::string_view::npos;
  std::string name = is_helper ? std::string(op).append("_") : std::string();
  return name.append(function_of(where));
}

}  // namespace

void OpProfile::describe(std::string detail, double flops) {
  if (depth_ > 0) return;
  detail_ = std::move(detail);
  flops_ = flops;
}

template <class Queue>
void OpProfile::begin(const Queue& queue, const char* op, const std::source_location& where) {
  if (depth_++ > 0) return;
  std::string name = name_of_op(op, where);
  if (!detail_.empty()) name.append(" ").append(detail_);
  entries_.push_back({.op = std::move(name), .flops = flops_, .begin = timeline_.mark(queue), .end = 0});
  detail_.clear();
  flops_ = 0;
}

template <class Queue>
void OpProfile::end(const Queue& queue) {
  if (--depth_ == 0) entries_.back().end = timeline_.mark(queue);
}

template void OpProfile::begin(const CpuQueue&, const char*, const std::source_location&);
template void OpProfile::begin(const CudaQueue&, const char*, const std::source_location&);
template void OpProfile::end(const CpuQueue&);
template void OpProfile::end(const CudaQueue&);

std::vector<OpProfile::Line> OpProfile::lines() const {
  std::map<std::string, Line> by_name;
  for (const Entry& entry : entries_) {
    Line& line = by_name[entry.op];
    line.op = entry.op;
    line.calls += 1;
    line.seconds += timeline_.seconds(entry.begin, entry.end);
    line.flops += entry.flops;
  }
  std::vector<Line> lines;
  for (const auto& [name, line] : by_name) lines.push_back(line);
  std::sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) { return a.seconds > b.seconds; });
  return lines;
}

double OpProfile::seconds() const {
  return entries_.empty() ? 0 : timeline_.seconds(entries_.front().begin, entries_.back().end);
}

void set_profile(Stream& stream, OpProfile* profile) {
  std::visit(
      [&](auto& queue) {
        if constexpr (requires { queue.profile; }) queue.profile = profile;
      },
      stream);
}

OpProfile* profile_of(const Stream& stream) {
  return std::visit(
      [](const auto& queue) -> OpProfile* {
        if constexpr (requires { queue.profile; }) return queue.profile;
        return nullptr;
      },
      stream);
}

void describe_op(const Stream& stream, std::initializer_list<int64_t> sizes, double flops) {
  OpProfile* profile = profile_of(stream);
  if (profile == nullptr) return;
  std::string text;
  for (const int64_t size : sizes) text.append(text.empty() ? "" : "x").append(std::to_string(size));
  profile->describe(text, flops);
}

}  // namespace engram
