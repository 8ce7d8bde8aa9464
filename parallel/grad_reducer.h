#pragma once

#include "parallel/communicator.h"
#include "parallel/zero.h"

namespace engram {

// Moves the flat vector of an OwnershipMap between the ranks: gradients to their owners, new values to everybody.
// Collective: all ranks make the same calls and waits in the same order.
class GradReducer {
 public:
  // group.size() must be map.num_ranks(); both must outlive the reducer.
  GradReducer(Communicator& group, const OwnershipMap& map);

  // This rank's part of a flat vector [flat_size]: a view [part_size].
  Tensor own_part(const Tensor& flat) const;

  // own_part(gradients) = the sum of that part over all ranks, added in rank order; the other parts keep this rank's
  // own values. gradients [flat_size].
  Pending reduce_scatter(Stream& stream, const Tensor& gradients) const;

  // Fills values [flat_size] with the own_part(values) of every rank.
  Pending all_gather(Stream& stream, const Tensor& values) const;

 private:
  void check(const char* what, const Tensor& flat) const;

  Communicator& group_;
  const OwnershipMap& map_;
};

}  // namespace engram
