#pragma once

#include "model/parameter.h"
#include "parallel/grad_reducer.h"
#include "trainer/dense_optimizer.h"

namespace engram {

// A bucket of a store's parameters, of which each rank of a group holds a copy and owns an equal part: gradients are
// summed there, and the weights that are trained lie there with their optimizer state (ZeRO stage 1, see OwnershipMap).
// Collective: the ranks of the group make the same calls in the same order.
class ZeroGroup {
 public:
  // The store has its memory, for the number of the group's ranks, and initial values of that seed. It and the
  // communicator must outlive this.
  ZeroGroup(Stream& stream, const ParameterStore& store, const ParameterBucket& bucket, Communicator& group,
            const DenseOptimizerConfig& config, uint64_t seed);

  ZeroGroup(const ZeroGroup&) = delete;  // its parts refer to one another
  ZeroGroup& operator=(const ZeroGroup&) = delete;

  // Sums the gradients where they are owned, see GradReducer.
  Pending reduce(Stream& stream) const { return reducer_.reduce_scatter(stream, bucket_.grads); }
  // The owned gradients [part_size], after reduce().
  Tensor own_grads() const { return reducer_.own_part(bucket_.grads); }
  // Updates the owned weights, control [4] as in kernels/update_control.h, and begins to gather the values of all, once
  // those that are still on their way are there.
  void update(Stream& stream, const Tensor& control);
  // Rounds the weights and begins to gather them in the same way, after somebody else than update() wrote them.
  void publish(Stream& stream);
  // Nobody reads the values of a bucket before this, which ends what update() or publish() began.
  void await_values() { arriving_.wait(); }

  const ParameterBucket& bucket() const { return bucket_; }
  // What this rank owns, parameters counted from the bucket's first one, and where a slice begins in own_weights() and
  // in the arrays of the optimizer.
  std::vector<ParameterSlice> own_slices() const { return bucket_.ownership.slices(rank_); }
  int64_t part_offset(const ParameterSlice& slice) const { return bucket_.ownership.part_offset(slice); }
  const Parameter& parameter(const ParameterSlice& slice) const {
    return store_.parameters()[static_cast<size_t>(bucket_.first_parameter + slice.parameter)];
  }
  // Where it begins in the whole parameter.
  int64_t whole_offset(const ParameterSlice& slice) const { return parameter(slice).first + slice.offset; }
  // The owned weights [part_size] that are trained and stored, see DenseOptimizer.
  Tensor own_weights() const { return optimizer_.weights(own_values()); }
  OptimizerState optimizer_state() const { return optimizer_.state(); }

 private:
  Tensor own_values() const { return reducer_.own_part(bucket_.values); }

  const ParameterStore& store_;
  const ParameterBucket& bucket_;
  int rank_;
  GradReducer reducer_;
  DenseOptimizer optimizer_;
  Pending arriving_;
};

}  // namespace engram
