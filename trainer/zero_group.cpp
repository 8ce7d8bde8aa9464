#include "trainer/zero_group.h"

namespace engram {

ZeroGroup::ZeroGroup(Stream& stream, ParameterStore& store, Communicator& group, const DenseOptimizerConfig& config,
                     uint64_t seed)
    : store_(store),
      rank_(group.rank()),
      ownership_(store.numels(), group.size(), ZeroPolicy::kFlat),
      reducer_(group, ownership_),
      optimizer_(stream, config, store.dtype(), ownership_.part_size()) {
  store.allocate(stream, ownership_);
  store.initialize(stream, seed);
  for (const ParameterSlice& slice : own_slices()) {  // a master copy starts from unrounded values
    fill_initial(stream, parameter(slice), seed, whole_offset(slice),
                 own_weights().rows(part_offset(slice), slice.count));
  }
}

Pending ZeroGroup::update(Stream& stream, const Tensor& control) {
  optimizer_.update(stream, control, own_values(), own_grads());
  return reducer_.all_gather(stream, store_.values());
}

Pending ZeroGroup::publish(Stream& stream) {
  optimizer_.publish(stream, own_values());
  return reducer_.all_gather(stream, store_.values());
}

}  // namespace engram
