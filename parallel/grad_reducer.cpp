#include "parallel/grad_reducer.h"

namespace engram {

GradReducer::GradReducer(Communicator& group, const OwnershipMap& map) : group_(group), map_(map) {
  ENGRAM_CHECK(group.size() == map.num_ranks(), "grad reducer: got a map for ", map.num_ranks(), " ranks, wanted ",
               group.size());
}

void GradReducer::check(const char* what, const Tensor& flat) const {
  check_tensor(what, flat, flat.dtype, {map_.flat_size()});
}

Tensor GradReducer::own_part(const Tensor& flat) const {
  check("grad reducer: flat vector", flat);
  return flat.rows(group_.rank() * map_.part_size(), map_.part_size());
}

Pending GradReducer::reduce_scatter(Stream& stream, const Tensor& gradients) const {
  return group_.reduce_scatter_sum(stream, gradients, own_part(gradients));
}

Pending GradReducer::all_gather(Stream& stream, const Tensor& values) const {
  return group_.all_gather(stream, own_part(values), values);
}

}  // namespace engram
