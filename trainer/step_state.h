#pragma once

#include <array>
#include <span>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/core/event.h"
#include "kernels/step_control.h"
#include "parallel/communicator.h"
#include "trainer/run_config.h"

namespace engram {

// What a step sums up over its micro-batches; over all ranks once reduced. The squares are those of the gradients, each
// parameter's counted once, at its owner.
enum class StepSum : int64_t {
  kLoss,
  kDenseSquares,
  kTableSquares,
  kGates,
  kUniqueRows,
  kRequestedRows,
  kServedRows,
  kServedRowsSquared,
  kExchangedBytes,
  kRequests,
  kSaveWork
};

// Sums and decisions of the step at hand, on the device: whether it is applied, how its gradients are clipped and at
// which learning rate. The host reads them for its report alone, and late.
//
//   state.begin(stream);
//   ... ops add to state.sum(StepSum::kLoss), state.loads(), ...
//   state.reduce(stream, world);
//   state.decide(stream);
//   StepState::PendingValues values = state.begin_read(stream);
//   ... optimizers read state.dense_control(), state.table_control()
class StepState {
  struct HostCopy;

 public:
  // What the host sees of a step.
  struct Values {
    double loss = 0, dense_squares = 0, table_squares = 0, gates = 0, unique_rows = 0, requested_rows = 0,
           served_rows = 0, served_rows_squared = 0, exchanged_bytes = 0, requests = 0, save_work = 0;
    bool applied = false;
    double lr_ratio = 0;
    bool is_spike = false;
    std::span<const int64_t> loads;
  };
  // Values on their way to the host; they live until the begin() after the next.
  class [[nodiscard]] PendingValues {
   public:
    Values wait() const;

   private:
    friend class StepState;
    const HostCopy* copy_ = nullptr;
    int64_t number_ = 0;
  };
  StepState(Stream& stream, const RunConfig& config);

  // Sets sums and loads to zero.
  void begin(Stream& stream);
  // [1] float64, to be added to.
  Tensor sum(StepSum which) const { return sums_.rows(static_cast<int64_t>(which), 1); }
  // Tokens routed to each expert, [num_mixtures, num_experts] int64, to be added to.
  const Tensor& loads() const { return loads_; }
  // Sets what the host knows on this rank: distinct rows of its batch and those asked for, rows that it served, bytes
  // that it sent for them, the weight of the request that it was made (trainer/requests.h), and the work on checkpoints
  // that has ended (trainer/checkpoint_saver.h).
  struct HostSums {
    double unique_rows = 0, requested_rows = 0, served_rows = 0, exchanged_bytes = 0, requests = 0, save_work = 0;
  };
  void set_host_sums(Stream& stream, const HostSums& sums);

  // Sums everything over the ranks.
  void reduce(Stream& stream, Communicator& world) const;
  // kernels/step_control.h for the reduced sums.
  void decide(Stream& stream) const;
  // [4] float64, see kernels/update_control.h.
  Tensor dense_control() const { return control_.rows(0, 1).reshape({control_.size(1)}); }
  Tensor table_control() const { return control_.rows(1, 1).reshape({control_.size(1)}); }

  PendingValues begin_read(Stream& stream);

  // What decisions of later steps depend on.
  struct History {
    int64_t applied_updates = 0;  // steps that were applied: what schedules and bias corrections count
    std::vector<double> guard;    // kernels/step_control.h; empty = no step was before
  };
  // Both wait for the stream.
  History history(Stream& stream) const;
  void set_history(Stream& stream, const History& history) const;

 private:
  // Where a step's values arrive on the host, and where its host sums come from.
  struct HostCopy {
    int64_t number = 0;  // of the begin() that it belongs to
    Buffer memory;
    Tensor host_sums, sums, control, loads, guard;
    Event arrived;
  };
  HostCopy make_host_copy(Device device) const;

  StepControlOptions options_;
  Buffer buffer_;
  Tensor seen_by_host_;  // sums, control, loads and guard as they lie, one after the other
  Tensor sums_, control_, loads_, guard_, lr_ratios_;
  int64_t num_begun_ = 0;
  std::array<HostCopy, 2> host_copies_;  // of this step and of the one before
};

}  // namespace engram
