#pragma once

#include "model/parameter.h"
#include "parallel/grad_reducer.h"
#include "trainer/dense_optimizer.h"

namespace engram {

// The parameters of a store, of which each rank of a group holds a copy and owns an equal part: gradients are summed
// there, and the weights that are trained lie there with their optimizer state (ZeRO stage 1, see OwnershipMap).
// Collective: the ranks of the group make the same calls in the same order.
class ZeroGroup {
 public:
  // Takes the store's memory and fills it with initial values, the same for any number of ranks. The store must outlive
  // the group, and both the communicator.
  ZeroGroup(Stream& stream, ParameterStore& store, Communicator& group, const DenseOptimizerConfig& config,
            uint64_t seed);

  ZeroGroup(const ZeroGroup&) = delete;  // its parts refer to one another
  ZeroGroup& operator=(const ZeroGroup&) = delete;

  // Sums the gradients where they are owned, see GradReducer.
  Pending reduce(Stream& stream) const { return reducer_.reduce_scatter(stream, store_.grads()); }
  // The owned gradients [part_size], after reduce().
  Tensor own_grads() const { return reducer_.own_part(store_.grads()); }
  // Updates the owned weights, control [4] as in kernels/update_control.h, and gathers the values of all.
  Pending update(Stream& stream, const Tensor& control);
  // Rounds and gathers the weights, after somebody else than update() wrote them.
  Pending publish(Stream& stream);

  const ParameterStore& store() const { return store_; }
  // What this rank owns, and where a slice begins in own_weights() and in the arrays of the optimizer.
  std::vector<ParameterSlice> own_slices() const { return ownership_.slices(rank_); }
  int64_t part_offset(const ParameterSlice& slice) const { return ownership_.part_offset(slice); }
  const Parameter& parameter(const ParameterSlice& slice) const {
    return store_.parameters()[static_cast<size_t>(slice.parameter)];
  }
  // Where it begins in the whole parameter.
  int64_t whole_offset(const ParameterSlice& slice) const { return parameter(slice).first + slice.offset; }
  // The owned weights [part_size] that are trained and stored, see DenseOptimizer.
  Tensor own_weights() const { return optimizer_.weights(own_values()); }
  OptimizerState optimizer_state() const { return optimizer_.state(); }

 private:
  Tensor own_values() const { return reducer_.own_part(store_.values()); }

  ParameterStore& store_;
  int rank_;
  OwnershipMap ownership_;
  GradReducer reducer_;
  DenseOptimizer optimizer_;
};

}  // namespace engram
