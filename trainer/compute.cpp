#include "trainer/compute.h"

#include "parallel/nccl_communicator.h"
#include "parallel/self_communicator.h"
#include "trainer/exit_codes.h"

namespace engram {

DType model_dtype(const RunConfig& config) {
  const bool is_narrow = config.train.precision == Precision::kBFloat16 ||
                         (config.train.precision == Precision::kAuto && config.device == DeviceChoice::kCuda);
  return is_narrow ? DType::kBFloat16 : DType::kFloat32;
}

std::unique_ptr<Communicator> make_cards(const RunConfig& config, Communicator& world) {
  if (config.device == DeviceChoice::kCpu) return nullptr;
  const int card = world.local_rank(), num_cards = num_cuda_devices();
  together(world, [&] {
    ENGRAM_CHECK_AS(Unavailable, card < num_cards, "device: cuda, but this program sees ", num_cards,
                    " cards, and this is rank ", card, " (from 0) of its machine; start at most one rank per card");
  });
  if (world.size() == 1) return std::make_unique<SelfCommunicator>();
  return make_nccl_communicator(world, {.card = card,
                                        .timeout_seconds = static_cast<double>(config.parallel.timeout_seconds),
                                        .exit_code = kExitRequeue});
}

Stream make_compute_stream(const RunConfig& config, const Communicator& world, StreamPriority priority) {
  if (config.device == DeviceChoice::kCpu) return make_stream(Device::kCpu);
  return make_stream(Device::kCuda, world.local_rank(), priority);
}

}  // namespace engram
