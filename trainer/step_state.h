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
  kLoss,  // as kernels/step_control.h takes the first three
  kDenseSquares,
  kTableSquares,
  // What the host of each rank knows:
  kUniqueRows,         // distinct rows of its batch
  kRequestedRows,      // rows of its batch
  kServedRows,         // that it sent to others and itself
  kServedRowsSquared,  // the square of that
  kExchangedBytes,     // that it sent to exchange rows
  kRequests,           // weight of the request that it was made, see trainer/requests.h
  kSaveWork,           // CheckpointSaver::num_ended()
  kCount
};

// Sums and decisions of the step at hand, on the device: whether it is applied, how its gradients are clipped and at
// which learning rate. The host reads them for its report alone, and late.
//
//   state.begin(stream);
//   ... ops add to state.sum(StepSum::kLoss), state.loads(), ...; state.host_sum(StepSum::kUniqueRows) = ...
//   state.reduce(stream, world);
//   state.decide(stream);
//   StepState::PendingValues values = state.begin_read(stream);
//   ... optimizers read state.dense_control(), state.table_control()
class StepState {
  struct HostCopy;

 public:
  // What the host sees of a step.
  struct Values {
    std::span<const double> sums;  // by StepSum
    std::span<const double> gate_sums;
    bool applied = false;
    double lr_ratio = 0;
    bool is_spike = false;
    std::span<const int64_t> loads;

    double sum(StepSum which) const { return sums[static_cast<size_t>(which)]; }
  };
  // Values on their way to the host. They, and what wait() gives, live until the begin() after the next.
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
  // [1] float64, to be added to: one of those before kUniqueRows.
  Tensor sum(StepSum which) const;
  // This rank's part of a sum of what hosts know, to be set before reduce(); else 0.
  double& host_sum(StepSum which);
  // Of the gates of each Engram layer, [num layers] float64, to be added to.
  Tensor gate_sums() const { return sums_.rows(static_cast<int64_t>(StepSum::kCount), num_gate_sums_); }
  // Tokens routed to each expert, [num_mixtures, num_experts] int64, to be added to.
  const Tensor& loads() const { return loads_; }

  // Sums everything over the ranks.
  void reduce(Stream& stream, Communicator& world);
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
  // Where a step's values arrive on the host, and where what it adds to them lies.
  struct HostCopy {
    int64_t number = 0;  // of the begin() that it belongs to
    Buffer memory;
    Tensor host_sums, sums, control, loads, guard;
    Event arrived;
  };
  HostCopy make_host_copy(Device device) const;
  HostCopy& host_copy() { return host_copies_[static_cast<size_t>(num_begun_ % std::ssize(host_copies_))]; }

  StepControlOptions options_;
  int64_t num_gate_sums_;
  Buffer buffer_;
  Tensor seen_by_host_;  // sums, control, loads and guard as they lie, one after the other
  Tensor sums_;          // by StepSum, then those of gates
  Tensor control_, loads_, guard_, lr_ratios_;
  int64_t num_begun_ = 0;
  std::array<HostCopy, 2> host_copies_;  // of this step and of the one before
};

}  // namespace engram
