#include "trainer/zero_group.h"

namespace engram {

ZeroGroup::ZeroGroup(Stream& stream, const ParameterStore& store, const ParameterBucket& bucket, Communicator& group,
                     const DenseOptimizerConfig& config, uint64_t seed)
    : store_(store),
      bucket_(bucket),
      rank_(group.rank()),
      reducer_(group, bucket.ownership),
      optimizer_(stream, config, store.dtype(), bucket.ownership.part_size()) {
  for (const ParameterSlice& slice : own_slices()) {  // a master copy starts from unrounded values
    fill_initial(stream, parameter(slice), seed, whole_offset(slice),
                 own_weights().rows(part_offset(slice), slice.count));
  }
}

void ZeroGroup::update(Stream& stream, const Tensor& control) {
  arriving_.wait();
  optimizer_.update(stream, control, own_values(), own_grads());
  arriving_ = reducer_.all_gather(stream, bucket_.values);
}

void ZeroGroup::publish(Stream& stream) {
  arriving_.wait();
  optimizer_.publish(stream, own_values());
  arriving_ = reducer_.all_gather(stream, bucket_.values);
}

}  // namespace engram
