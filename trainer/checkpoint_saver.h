#pragma once

#include <chrono>
#include <functional>
#include <future>
#include <optional>
#include <string>

#include "trainer/checkpoint_image.h"
#include "trainer/manifest.h"
#include "trainer/replica.h"

namespace engram {

// A checkpoint that was saved.
struct SavedCheckpoint {
  int64_t step = 0;
  int64_t num_bytes = 0;     // of all files; right on rank 0
  double seconds = 0;        // from begin() on
  double stall_seconds = 0;  // of them, those in which this rank's training stood still
};

// Saves a run's checkpoints (checkpoint.h says what they are) while training goes on: begin() copies what this rank
// owns to host memory, and a thread writes it. Where checkpoint.asynchronous is false there is no copy and no thread:
// the replica must stay as it is until finish().
//
// A save is three pieces of work: rank 0 makes the directory, every rank writes its file, rank 0 publishes and removes
// old checkpoints. Between them the ranks meet in advance(), which does not wait where num_ended() says on every rank
// that the piece has ended:
//
//   saver.begin();
//   ... steps, each of which sums num_ended() over the ranks ...
//   if (saver.all_ended(sum)) saved = saver.advance();
//
// What is left of old checkpoints, because the system refuses to remove it, fails no save. A piece that the system
// refuses on any rank (IoError) leaves the checkpoints of other steps as they were. The save is
// tried again from its beginning, kTries times in all, with growing pauses from checkpoint.retry_seconds on; then all
// ranks throw.
class CheckpointSaver {
 public:
  static constexpr int kTries = 5;

  // `tell` hears on rank 0 what went wrong and is tried again, now or with the next save. The replica must outlive the
  // saver.
  CheckpointSaver(Replica& replica, RunIdentity identity, std::string directory,
                  std::function<void(const std::string&)> tell = {});

  // Starts to save the replica's current step. A save must not be under way. Collective.
  void begin();
  bool is_saving() const { return work_.valid(); }

  // Pieces of work that have ended on this rank, of all saves; and whether `sum` over the ranks says that none is left.
  int64_t num_ended() const;
  bool all_ended(double sum) const { return is_saving() && sum == static_cast<double>(num_begun_ * world_.size()); }
  // Waits for the piece under way and begins the next one. Returns the checkpoint after the last. Collective.
  std::optional<SavedCheckpoint> advance();
  // Waits for the save under way, if there is one. Collective.
  std::optional<SavedCheckpoint> finish();

 private:
  enum class Piece { kPrepare, kWrite, kPublish };

  void start(Piece piece);
  void work(Piece piece);
  // Each on the thread:
  void prepare() const;
  void write_own_file();
  void publish();
  // Puts the files that the ranks have written into the manifest. Collective.
  void gather_files();
  // Begins again after a pause, or throws what is being handled.
  void try_again(const std::string& problem);

  Replica& replica_;
  Communicator& world_;
  std::string directory_;
  std::function<void(const std::string&)> tell_;
  CheckpointImage image_;
  // Of the save under way:
  Manifest manifest_;
  Manifest::File own_file_;
  int64_t owned_bytes_ = 0;  // of all ranks
  std::string unremoved_;    // of the old checkpoints; rank 0
  int tries_ = 0;
  Piece piece_ = Piece::kPrepare;
  std::chrono::steady_clock::time_point begun_at_;
  double stall_seconds_ = 0;

  int64_t num_begun_ = 0;   // pieces of work
  std::future<void> work_;  // last: it uses all of the above
};

}  // namespace engram
