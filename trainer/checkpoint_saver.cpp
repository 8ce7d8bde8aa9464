#include "trainer/checkpoint_saver.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <thread>

#include "data/atomic_file.h"
#include "trainer/checkpoint.h"
#include "trainer/checkpoint_files.h"
#include "trainer/checkpoint_tensors.h"
#include "trainer/config.h"
#include "trainer/stopwatch.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

Manifest::File describe(const std::string& directory, const std::string& name) {
  const std::string path = directory + "/" + name;
  return {.name = name, .num_bytes = static_cast<int64_t>(fs::file_size(path)), .digest = digest_of_file(path)};
}

// Whether this rank sees what another one has written.
void check_seen(const std::string& path, int64_t num_bytes) {
  std::error_code error;
  const auto seen = static_cast<int64_t>(fs::file_size(path, error));
  ENGRAM_CHECK_AS(IoError, !error && seen == num_bytes, path, ": rank 0 does not see the ", num_bytes,
                  " bytes that its writer wrote there; do all ranks share this file system?");
}

// A file's size and digest on their way between ranks.
struct FileRecord {
  int64_t num_bytes = 0;
  char digest[32] = {};
};

}  // namespace

CheckpointSaver::CheckpointSaver(Replica& replica, RunIdentity identity, std::string directory,
                                 std::function<void(const std::string&)> tell)
    : replica_(replica), world_(replica.world), directory_(std::move(directory)), tell_(std::move(tell)) {
  manifest_.identity = std::move(identity);
}

void CheckpointSaver::begin() {
  assert(!is_saving());
  begun_at_ = std::chrono::steady_clock::now();
  stall_seconds_ = 0;
  const Stopwatch watch(stall_seconds_);
  manifest_.step = replica_.step;
  manifest_.passed_batches = replica_.passed_batches;
  manifest_.history = replica_.state.history(replica_.stream);
  manifest_.world_size = world_.size();
  manifest_.table_optimizer = enum_name(replica_.config.optimizer.table.kind);
  owned_bytes_ = num_owned_bytes(replica_);
  all_reduce_sum<int64_t>(world_, std::span(&owned_bytes_, 1));
  if (replica_.config.checkpoint.asynchronous) write_tensors(image_, replica_);
  tries_ = 1;
  start(Piece::kPrepare);
}

void CheckpointSaver::start(Piece piece) {
  piece_ = piece;
  ++num_begun_;
  const auto policy = replica_.config.checkpoint.asynchronous ? std::launch::async : std::launch::deferred;
  work_ = std::async(policy, [this, piece] { work(piece); });
}

void CheckpointSaver::work(Piece piece) {
  const bool first = world_.rank() == 0;
  if (piece == Piece::kPrepare && first) prepare();
  if (piece == Piece::kWrite) write_own_file();
  if (piece == Piece::kPublish && first) publish();
}

void CheckpointSaver::prepare() const {
  constexpr double kMargin = 1.1;
  fs::create_directories(directory_);
  const CheckpointConfig& config = replica_.config.checkpoint;
  remove_old_checkpoints(directory_, config.keep, config.keep_every);  // what is left by now is told after the save
  check_free_space(directory_, static_cast<int64_t>(kMargin * static_cast<double>(owned_bytes_)));
  const std::string unfinished = unfinished_checkpoint(directory_, manifest_.step);
  fs::create_directory(unfinished);
  write_file_atomically(unfinished + "/" + kConfigName, print_config(replica_.config));
}

void CheckpointSaver::write_own_file() {
  const std::string unfinished = unfinished_checkpoint(directory_, manifest_.step);
  const std::string name = rank_file_name(world_.rank(), world_.size());
  AtomicFile file(unfinished + "/" + name);
  Hdf5Writer writer(file.temporary_path());
  if (replica_.config.checkpoint.asynchronous)
    image_.write_to(writer);
  else
    write_tensors(writer, replica_);
  writer.close();
  file.publish();
  own_file_ = describe(unfinished, name);
}

void CheckpointSaver::publish() {
  const std::string unfinished = unfinished_checkpoint(directory_, manifest_.step);
  const std::string path = directory_ + "/" + checkpoint_name(manifest_.step);
  for (const Manifest::File& file : manifest_.files) check_seen(unfinished + "/" + file.name, file.num_bytes);
  manifest_.files.insert(manifest_.files.begin(), describe(unfinished, kConfigName));
  write_manifest(unfinished, manifest_);
  if (fs::exists(path)) set_aside_for_removal(path);  // the same step of an earlier attempt
  fs::rename(unfinished, path);
  sync_directory(directory_);
  const CheckpointConfig& config = replica_.config.checkpoint;
  unremoved_ = remove_old_checkpoints(directory_, config.keep, config.keep_every);
}

void CheckpointSaver::gather_files() {
  FileRecord own{.num_bytes = own_file_.num_bytes};
  std::memcpy(own.digest, own_file_.digest.data(), sizeof(own.digest));
  std::vector<FileRecord> all(static_cast<size_t>(world_.size()));
  Stream stream = CpuQueue{};
  const int64_t num_bytes = sizeof(FileRecord);
  world_
      .all_gather(stream, Tensor(&own, DType::kUInt8, {num_bytes}),
                  Tensor(all.data(), DType::kUInt8, {num_bytes * world_.size()}))
      .wait();
  manifest_.files.clear();
  for (int64_t rank = 0; rank < world_.size(); ++rank) {
    const FileRecord& file = all[static_cast<size_t>(rank)];
    manifest_.files.push_back({.name = rank_file_name(rank, world_.size()),
                               .num_bytes = file.num_bytes,
                               .digest = std::string(file.digest, sizeof(file.digest))});
  }
}

int64_t CheckpointSaver::num_ended() const {
  const bool is_running = is_saving() && work_.wait_for(std::chrono::seconds(0)) == std::future_status::timeout;
  return num_begun_ - (is_running ? 1 : 0);
}

std::optional<SavedCheckpoint> CheckpointSaver::advance() {
  const Stopwatch watch(stall_seconds_);
  try {
    together(world_, [&] { work_.get(); });
    if (piece_ == Piece::kWrite) gather_files();
  } catch (const IoError& error) {
    try_again(error.what());
    return std::nullopt;
  } catch (const PeerFailed& error) {
    try_again(error.what());
    return std::nullopt;
  }
  if (piece_ != Piece::kPublish) {
    start(piece_ == Piece::kPrepare ? Piece::kWrite : Piece::kPublish);
    return std::nullopt;
  }
  if (!unremoved_.empty() && tell_) tell_(unremoved_);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begun_at_;
  SavedCheckpoint saved{
      .step = manifest_.step, .seconds = elapsed.count(), .stall_seconds = stall_seconds_ + watch.seconds()};
  for (const Manifest::File& file : manifest_.files) saved.num_bytes += file.num_bytes;
  return saved;
}

std::optional<SavedCheckpoint> CheckpointSaver::finish() {
  std::optional<SavedCheckpoint> saved;
  while (is_saving()) saved = advance();
  return saved;
}

void CheckpointSaver::try_again(const std::string& problem) {
  constexpr double kLongestPause = 60;
  if (tries_ == kTries) throw;
  const double pause = std::min(kLongestPause, replica_.config.checkpoint.retry_seconds * std::exp2(tries_ - 1));
  if (world_.rank() == 0 && tell_) {
    tell_("checkpoint of step " + std::to_string(manifest_.step) + " failed (try " + std::to_string(tries_) + " of " +
          std::to_string(kTries) + "): " + problem);
  }
  ++tries_;
  std::this_thread::sleep_for(std::chrono::duration<double>(pause));
  start(Piece::kPrepare);
}

void save_checkpoint(Replica& replica, const RunIdentity& identity, const std::string& directory) {
  CheckpointSaver saver(replica, identity, directory);
  saver.begin();
  saver.finish();
}

}  // namespace engram
