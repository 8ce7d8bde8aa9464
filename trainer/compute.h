#pragma once

#include <memory>

#include "kernels/core/device.h"
#include "kernels/core/device_info.h"
#include "parallel/communicator.h"
#include "trainer/run_config.h"

// What a run computes on, and in which precision.
namespace engram {

// The type of the model's values and activations. Gradients, optimizer state and stored weights have its accumulator.
DType model_dtype(const RunConfig& config);

// The number of this rank's card among those that it sees: the rank's number on its machine, or 0 where its launcher
// shows it one card alone (srun --gpus-per-task=1).
int card_number(const Communicator& world);

// Throws Unavailable where another rank has a card of the same UUID, PeerFailed where others share one. Collective.
void check_own_card(Communicator& world, const CardUuid& uuid);

// The ranks of `world` as they meet on CUDA devices, each with a card of its own; empty where the run computes on the
// CPU. Collective: throws on every rank where one finds no card for itself. `world` must outlive the result.
std::unique_ptr<Communicator> make_cards(const RunConfig& config, Communicator& world);

// A stream of this rank.
Stream make_compute_stream(const RunConfig& config, const Communicator& world,
                           StreamPriority priority = StreamPriority::kNormal);

}  // namespace engram
