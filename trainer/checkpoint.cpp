#include "trainer/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "trainer/checkpoint_files.h"
#include "trainer/checkpoint_tensors.h"
#include "trainer/config.h"
#include "trainer/manifest.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

void check_same(const std::string& checkpoint, const char* what, const std::string& got, const std::string& wanted,
                const std::string& way_out) {
  ENGRAM_CHECK(got == wanted, checkpoint, ": its ", what, " is ", got, ", this run's is ", wanted, "; ", way_out);
}

// Refuses a checkpoint of another model, tokenizer, optimizer or data order.
void check_fits(const Replica& r, const RunIdentity& identity, const std::string& checkpoint, const Manifest& manifest,
                LoadScope scope) {
  const RunConfig saved = checkpoint_config(checkpoint);
  const bool is_begun = scope != LoadScope::kWeights;
  const std::string from_weights = "; another run.name with run.init_from=" + checkpoint + " starts from its weights";
  const auto check = [&](const char* prefix, const std::string& way_out) {
    const auto differences = config_differences(saved, r.config, prefix);
    ENGRAM_CHECK(differences.empty(), checkpoint, ": is of another run: ", differences.front(),
                 " (checkpoint -> this run); ", is_begun ? "give the run another name or " : "", "set the value back",
                 way_out);
  };
  check("model.", "");
  const std::string tokenizer = "give the tokenizer that it was trained with (data.tokenizer, or --tokenizer)";
  check_same(checkpoint, "tokenizer digest", manifest.identity.tokenizer_digest, identity.tokenizer_digest, tokenizer);
  check_same(checkpoint, "vocabulary digest", manifest.identity.vocabulary_digest, identity.vocabulary_digest,
             tokenizer);
  if (!is_begun) return;
  for (const char* key :
       {"data.seq_len", "train.global_batch", "run.seed", "optimizer.table.kind", "optimizer.dense.moments"}) {
    check(key, from_weights);
  }
  check_same(checkpoint, "training data digest", manifest.identity.data_digest, identity.data_digest,
             "set data.train back, with the stores that the run had" + from_weights);
}

// The manifest of a checkpoint all of whose files are as it says. Collective; throws where any rank finds damage.
Manifest check_intact(Communicator& world, const std::string& checkpoint) {
  Manifest manifest;
  together(world, [&] {
    manifest = read_manifest(checkpoint);
    const int64_t step = step_of_checkpoint(fs::path(checkpoint).filename());
    ENGRAM_CHECK(step < 0 || step == manifest.step, checkpoint, "/", kManifestName, ": is of step ", manifest.step);
  });
  together(world, [&] { check_files(checkpoint, manifest, world.rank(), world.size()); });
  return manifest;
}

void load_intact(Replica& r, const RunIdentity& identity, const std::string& checkpoint, const Manifest& manifest,
                 LoadScope scope) {
  together(r.world, [&] { check_fits(r, identity, checkpoint, manifest, scope); });
  r.await_weights();
  together(r.world, [&] { read_tensors(CheckpointReader(checkpoint), r, scope == LoadScope::kWeights); });
  r.publish_weights();
  if (scope == LoadScope::kWeights) return;
  r.step = manifest.step;
  r.passed_batches = manifest.passed_batches;
  r.state.set_history(r.stream, manifest.history);
}

// Where all ranks caught what check_intact() throws: throws again on all unless what they caught is damage alone.
void check_read(Communicator& world, const std::string& checkpoint, const Error& error) {
  const bool is_refused = dynamic_cast<const IoError*>(&error) != nullptr;
  int64_t any_refused = is_refused ? 1 : 0;
  all_reduce_max<int64_t>(world, std::span(&any_refused, 1));
  if (any_refused == 0) return;
  if (!is_refused) throw PeerFailed(checkpoint + ": another rank cannot read it");
  throw IoError(std::string(error.what()) + "; " + checkpoint +
                " may be intact, and nothing was changed: start again " +
                "once it can be read, or move it away to go on from an older checkpoint");
}

// The first of the list that is intact; `from` gets it and those before it.
Manifest newest_intact(Communicator& world, const std::vector<std::string>& checkpoints, ResumedFrom& from) {
  std::string all_damage;
  for (const std::string& checkpoint : checkpoints) {
    try {
      Manifest manifest = check_intact(world, checkpoint);
      from.checkpoint = checkpoint;
      from.step = manifest.step;
      return manifest;
    } catch (const Error& error) {
      check_read(world, checkpoint, error);
      from.damaged.emplace_back(error.what());
      all_damage += std::string("\n  ") + error.what();
    }
  }
  ENGRAM_FAIL("no checkpoint of this run is intact; remove them to begin anew:", all_damage);
}

// Puts it where nobody takes it for a checkpoint, and the next save of its step does not meet it.
void set_aside(const std::string& checkpoint) {
  const fs::path path = checkpoint, aside = path.parent_path() / ("damaged." + path.filename().string());
  fs::remove_all(aside);
  fs::rename(path, aside);
}

}  // namespace

std::vector<std::string> list_checkpoints(Communicator& world, const std::string& directory) {
  std::string lines;
  together(world, [&] {
    if (world.rank() != 0) return;
    for (const std::string& path : complete_checkpoints(directory)) lines = path + "\n" + lines;
  });
  std::istringstream text(broadcast_text(world, lines));
  std::vector<std::string> paths;
  for (std::string line; std::getline(text, line);) paths.push_back(line);
  return paths;
}

std::optional<std::string> newest_checkpoint(const std::string& directory) {
  const auto all = complete_checkpoints(directory);
  if (all.empty()) return std::nullopt;
  return all.back();
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
  load_intact(r, identity, checkpoint, check_intact(r.world, checkpoint), scope);
}

void check_checkpoint(Replica& r, const RunIdentity& identity, const std::string& checkpoint, LoadScope scope) {
  const Manifest manifest = check_intact(r.world, checkpoint);
  together(r.world, [&] { check_fits(r, identity, checkpoint, manifest, scope); });
}

ResumedFrom resume_from_newest(Replica& r, const RunIdentity& identity, const std::vector<std::string>& checkpoints) {
  ResumedFrom from;
  const Manifest manifest = newest_intact(r.world, checkpoints, from);
  load_intact(r, identity, from.checkpoint, manifest, LoadScope::kResume);
  together(r.world, [&] {
    if (r.world.rank() != 0) return;
    for (size_t i = 0; i < from.damaged.size(); ++i) set_aside(checkpoints[i]);
  });
  return from;
}

ResumedFrom check_newest(Replica& r, const RunIdentity& identity, const std::vector<std::string>& checkpoints) {
  ResumedFrom from;
  const Manifest manifest = newest_intact(r.world, checkpoints, from);
  together(r.world, [&] { check_fits(r, identity, from.checkpoint, manifest, LoadScope::kResume); });
  return from;
}

}  // namespace engram
