#include "trainer/checkpoint_files.h"

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <map>

#include "trainer/manifest.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-", kUnfinished = "tmp.";

std::string padded(const char* format, int64_t value) {
  char text[32];
  std::snprintf(text, sizeof(text), format, static_cast<long>(value));
  return text;
}

}  // namespace

std::string checkpoint_name(int64_t step) { return std::string(kPrefix) + padded("%08ld", step); }

int64_t step_of_checkpoint(const std::string& name) {
  int64_t step = -1;
  if (!name.starts_with(kPrefix)) return -1;
  const char* end = name.data() + name.size();
  const auto result = std::from_chars(name.data() + kPrefix.size(), end, step);
  return result.ec == std::errc() && result.ptr == end ? step : -1;
}

std::string rank_file_name(int64_t rank, int64_t world_size) {
  return "rank-" + padded("%05ld", rank) + "-of-" + padded("%05ld", world_size) + ".h5";
}

std::vector<std::string> complete_checkpoints(const std::string& directory) {
  std::map<int64_t, std::string> found;
  if (fs::is_directory(directory)) {
    for (const auto& entry : fs::directory_iterator(directory)) {
      const int64_t step = step_of_checkpoint(entry.path().filename());
      if (step >= 0 && fs::exists(entry.path() / kManifestName)) found[step] = entry.path();
    }
  }
  std::vector<std::string> in_order;
  for (const auto& [step, path] : found) in_order.push_back(path);
  return in_order;
}

void remove_checkpoint(const std::string& checkpoint) {
  if (!fs::exists(checkpoint)) return;
  const fs::path path = checkpoint,
                 doomed = path.parent_path() / (std::string(kUnfinished) + "old." + path.filename().string());
  fs::remove_all(doomed);
  fs::rename(path, doomed);
  fs::remove_all(doomed);
}

void prune_checkpoints(const std::string& directory, int64_t keep, int64_t keep_every) {
  const std::vector<std::string> all = complete_checkpoints(directory);
  for (int64_t i = 0; i < std::ssize(all) - keep; ++i) {
    const std::string& path = all[static_cast<size_t>(i)];
    if (keep_every == 0 || step_of_checkpoint(fs::path(path).filename()) % keep_every != 0) remove_checkpoint(path);
  }
}

std::string unfinished_checkpoint(const std::string& directory, int64_t step) {
  return directory + "/" + std::string(kUnfinished) + checkpoint_name(step);
}

void remove_unfinished_checkpoints(const std::string& directory) {
  if (!fs::is_directory(directory)) return;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().filename().string().starts_with(kUnfinished)) fs::remove_all(entry.path());
  }
}

}  // namespace engram
