#include "trainer/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <map>

#include "data/atomic_file.h"
#include "trainer/checkpoint_tensors.h"
#include "trainer/config.h"
#include "trainer/manifest.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";

std::string padded(const char* format, int64_t value) {
  char text[32];
  std::snprintf(text, sizeof(text), format, static_cast<long>(value));
  return text;
}

std::string file_name(int64_t rank, int64_t world_size) {
  return "rank-" + padded("%05ld", rank) + "-of-" + padded("%05ld", world_size) + ".h5";
}

// The step that a checkpoint's directory is named after; -1 where the name is not of that form.
int64_t step_of(const std::string& name) {
  int64_t step = -1;
  if (!name.starts_with(kPrefix)) return -1;
  const char* end = name.data() + name.size();
  const auto result = std::from_chars(name.data() + kPrefix.size(), end, step);
  return result.ec == std::errc() && result.ptr == end ? step : -1;
}

// Complete checkpoints under a directory, oldest first.
std::vector<fs::path> complete_checkpoints(const std::string& directory) {
  std::map<int64_t, fs::path> found;
  if (fs::is_directory(directory)) {
    for (const auto& entry : fs::directory_iterator(directory)) {
      const int64_t step = step_of(entry.path().filename());
      if (step >= 0 && fs::exists(entry.path() / kManifestName)) found[step] = entry.path();
    }
  }
  std::vector<fs::path> in_order;
  for (const auto& [step, path] : found) in_order.push_back(path);
  return in_order;
}

// The manifest first, so that a half-removed checkpoint is none.
void remove_checkpoint(const fs::path& checkpoint) {
  fs::remove(checkpoint / kManifestName);
  fs::remove_all(checkpoint);
}

void prune(const std::string& directory, int64_t keep) {
  const auto all = complete_checkpoints(directory);
  const auto num_old = static_cast<int64_t>(all.size()) - keep;
  for (int64_t i = 0; i < num_old; ++i) remove_checkpoint(all[static_cast<size_t>(i)]);
}

// Remains of a save that did not finish.
void remove_unfinished(const std::string& directory) {
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().filename().string().starts_with("tmp.")) fs::remove_all(entry.path());
  }
}

Manifest make_manifest(Replica& r, const RunIdentity& identity, const std::string& directory) {
  Manifest manifest{.step = r.step,
                    .applied_updates = r.state.applied_updates(r.stream),
                    .world_size = r.world.size(),
                    .table_optimizer = std::string(enum_name(r.config.optimizer.table.kind)),
                    .identity = identity,
                    .files = {}};
  std::vector<std::string> names{kConfigName};
  for (int64_t rank = 0; rank < r.world.size(); ++rank) names.push_back(file_name(rank, r.world.size()));
  for (const std::string& name : names) {
    const std::string path = directory + "/" + name;
    manifest.files.push_back(
        {.name = name, .num_bytes = static_cast<int64_t>(fs::file_size(path)), .digest = digest_of_file(path)});
  }
  return manifest;
}

void check_file(const std::string& checkpoint, const Manifest::File& file) {
  const std::string path = checkpoint + "/" + file.name;
  ENGRAM_CHECK(fs::exists(path), path, ": is missing; the manifest lists it");
  const auto num_bytes = static_cast<int64_t>(fs::file_size(path));
  ENGRAM_CHECK(num_bytes == file.num_bytes, path, ": has ", num_bytes, " bytes, the manifest says ", file.num_bytes,
               ": the file is damaged; use an older checkpoint");
  const std::string digest = digest_of_file(path);
  ENGRAM_CHECK(digest == file.digest, path, ": its digest is ", digest, ", the manifest says ", file.digest,
               ": the file is damaged; use an older checkpoint");
}

void check_same(const std::string& checkpoint, const char* what, const std::string& got, const std::string& wanted) {
  ENGRAM_CHECK(got == wanted, checkpoint, ": its ", what, " is ", got, ", this run's is ", wanted);
}

// Refuses a checkpoint of another model, tokenizer, optimizer or data order.
void check_fits(const Replica& r, const RunIdentity& identity, const std::string& checkpoint, const Manifest& manifest,
                LoadScope scope) {
  const RunConfig saved = checkpoint_config(checkpoint);
  std::vector<std::string> prefixes{"model."};
  if (scope == LoadScope::kResume) {
    prefixes.insert(prefixes.end(), {"data.seq_len", "train.global_batch", "run.seed", "optimizer.table.kind"});
  }
  for (const std::string& prefix : prefixes) {
    const auto differences = config_differences(saved, r.config, prefix);
    ENGRAM_CHECK(differences.empty(), checkpoint, ": is of another run: ", differences.front(),
                 " (checkpoint -> this run); give the run another name or set the value back");
  }
  check_same(checkpoint, "tokenizer digest", manifest.identity.tokenizer_digest, identity.tokenizer_digest);
  check_same(checkpoint, "vocabulary digest", manifest.identity.vocabulary_digest, identity.vocabulary_digest);
  if (scope == LoadScope::kResume) {
    check_same(checkpoint, "training data digest", manifest.identity.data_digest, identity.data_digest);
  }
}

// File i is checked by rank i mod size: nobody reads twice what another rank has checked.
void check_files(const Replica& r, const std::string& checkpoint, const Manifest& manifest) {
  for (size_t i = 0; i < manifest.files.size(); ++i) {
    if (static_cast<int>(i) % r.world.size() == r.world.rank()) check_file(checkpoint, manifest.files[i]);
  }
}

}  // namespace

void save_checkpoint(Replica& r, const RunIdentity& identity, const std::string& directory) {
  const std::string name = std::string(kPrefix) + padded("%08ld", r.step), unfinished = directory + "/tmp." + name;
  const bool first = r.world.rank() == 0;
  together(r.world, [&] {
    if (!first) return;
    fs::create_directories(directory);
    remove_unfinished(directory);
    fs::create_directory(unfinished);
    write_file_atomically(unfinished + "/" + kConfigName, print_config(r.config));
  });
  together(r.world, [&] {
    AtomicFile file(unfinished + "/" + file_name(r.world.rank(), r.world.size()));
    Hdf5Writer writer(file.temporary_path());
    write_tensors(writer, r);
    writer.close();
    file.publish();
  });
  together(r.world, [&] {
    if (!first) return;
    write_manifest(unfinished, make_manifest(r, identity, unfinished));
    remove_checkpoint(directory + "/" + name);  // the same step of an earlier attempt
    fs::rename(unfinished, directory + "/" + name);
    sync_directory(directory);
    prune(directory, r.config.checkpoint.keep);
  });
}

std::optional<std::string> newest_checkpoint(const std::string& directory) {
  const auto all = complete_checkpoints(directory);
  if (all.empty()) return std::nullopt;
  return all.back().string();
}

std::string resolve_checkpoint(const std::string& path) {
  if (fs::exists(path + "/" + kManifestName)) return path;
  const auto newest = newest_checkpoint(path + "/checkpoints");
  ENGRAM_CHECK(newest, path, ": is no complete checkpoint (has no ", kManifestName,
               ") and no directory of a run with one in checkpoints/");
  return *newest;
}

RunConfig checkpoint_config(const std::string& checkpoint) {
  const Manifest manifest = read_manifest(checkpoint);
  const auto file = std::find_if(manifest.files.begin(), manifest.files.end(),
                                 [](const Manifest::File& f) { return f.name == kConfigName; });
  ENGRAM_CHECK(file != manifest.files.end(), checkpoint, "/", kManifestName, ": does not list ", kConfigName);
  check_file(checkpoint, *file);
  return load_config(checkpoint + "/" + kConfigName);
}

void load_checkpoint(Replica& r, const RunIdentity& identity, const std::string& checkpoint, LoadScope scope) {
  Manifest manifest;
  together(r.world, [&] {
    manifest = read_manifest(checkpoint);
    check_fits(r, identity, checkpoint, manifest, scope);
  });
  together(r.world, [&] { check_files(r, checkpoint, manifest); });
  together(r.world, [&] {
    std::vector<Hdf5Reader> files;
    for (int64_t rank = 0; rank < manifest.world_size; ++rank) {
      files.emplace_back(checkpoint + "/" + file_name(rank, manifest.world_size));
    }
    read_tensors(files, r, scope == LoadScope::kWeights);
  });
  for (ZeroGroup& group : r.zero_groups) group.publish(r.stream).wait();
  if (scope == LoadScope::kWeights) return;
  r.step = manifest.step;
  r.state.set_applied_updates(r.stream, manifest.applied_updates);
}

}  // namespace engram
