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

int card_number(const Communicator& world) { return num_cuda_devices() == 1 ? 0 : world.local_rank(); }

void check_own_card(Communicator& world, const CardUuid& uuid) {
  CardUuid own = uuid;
  std::vector<CardUuid> all(static_cast<size_t>(world.size()));
  const auto num_bytes = static_cast<int64_t>(sizeof(CardUuid));
  Stream host = CpuQueue{};
  world
      .all_gather(host, Tensor(own.data(), DType::kUInt8, {num_bytes}),
                  Tensor(all.data(), DType::kUInt8, {num_bytes * world.size()}))
      .wait();
  together(world, [&] {
    for (int rank = 0; rank < world.size(); ++rank) {
      ENGRAM_CHECK_AS(Unavailable, rank == world.rank() || all[static_cast<size_t>(rank)] != own, "device: cuda, but ",
                      to_string(own), " is the card of rank ", rank, " as well; start at most one rank per card");
    }
  });
}

std::unique_ptr<Communicator> make_cards(const RunConfig& config, Communicator& world) {
  if (config.device == DeviceChoice::kCpu) return nullptr;
  const int card = card_number(world), num_cards = num_cuda_devices();
  together(world, [&] {
    ENGRAM_CHECK_AS(Unavailable, card < num_cards, "device: cuda, but this program sees ", num_cards,
                    " cards, and this is rank ", card, " (from 0) of its machine; start at most one rank per card");
  });
  check_own_card(world, card_uuid(card));
  if (world.size() == 1) return std::make_unique<SelfCommunicator>();
  return make_nccl_communicator(world, {.card = card,
                                        .timeout_seconds = static_cast<double>(config.parallel.timeout_seconds),
                                        .exit_code = kExitRequeue});
}

Stream make_compute_stream(const RunConfig& config, const Communicator& world, StreamPriority priority) {
  if (config.device == DeviceChoice::kCpu) return make_stream(Device::kCpu);
  return make_stream(Device::kCuda, card_number(world), priority);
}

}  // namespace engram
