#include "trainer/checkpoint_files.h"

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <functional>
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

// The manifest goes first: as long as it is there, the checkpoint is whole and gets its name back.
void remove_checkpoint(const std::string& path) {
  const fs::path aside = set_aside_for_removal(path);
  try {
    fs::remove(aside / kManifestName);
  } catch (const fs::filesystem_error&) {
    fs::rename(aside, path);
    throw;
  }
  fs::remove_all(aside);
}

// Adds what the system refuses to a list.
void attempt(std::string& refused, const std::function<void()>& removal) {
  try {
    removal();
  } catch (const fs::filesystem_error& error) {
    refused.append("\n  ").append(error.what());
  }
}

void remove_unfinished(const std::string& directory, std::string& refused) {
  if (!fs::is_directory(directory)) return;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (!entry.path().filename().string().starts_with(kUnfinished)) continue;
    attempt(refused, [&] { fs::remove_all(entry.path()); });
  }
}

void prune(const std::string& directory, int64_t keep, int64_t keep_every, std::string& refused) {
  const std::vector<std::string> all = complete_checkpoints(directory);
  for (int64_t i = 0; i < std::ssize(all) - keep; ++i) {
    const std::string& path = all[static_cast<size_t>(i)];
    const bool stays = keep_every > 0 && step_of_checkpoint(fs::path(path).filename()) % keep_every == 0;
    if (!stays) attempt(refused, [&] { remove_checkpoint(path); });
  }
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

std::string unfinished_checkpoint(const std::string& directory, int64_t step) {
  return directory + "/" + std::string(kUnfinished) + checkpoint_name(step);
}

std::string set_aside_for_removal(const std::string& checkpoint) {
  const fs::path path = checkpoint,
                 aside = path.parent_path() / (std::string(kUnfinished) + "old." + path.filename().string());
  fs::remove_all(aside);
  fs::rename(path, aside);
  return aside;
}

std::string remove_old_checkpoints(const std::string& directory, int64_t keep, int64_t keep_every) {
  std::string refused;
  attempt(refused, [&] { remove_unfinished(directory, refused); });
  attempt(refused, [&] { prune(directory, keep, keep_every, refused); });
  return refused.empty() ? refused : "could not be removed, which the next save tries again:" + refused;
}

}  // namespace engram
