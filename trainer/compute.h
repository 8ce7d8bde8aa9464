#pragma once

#include <memory>

#include "kernels/core/device.h"
#include "parallel/communicator.h"
#include "trainer/run_config.h"

// What a run computes on, and in which precision.
namespace engram {

// The type of the model's values and activations. Gradients, optimizer state and stored weights have its accumulator.
DType model_dtype(const RunConfig& config);

// The ranks of `world` as they meet on CUDA devices, each rank of a machine with the card of its number there; empty
// where the run computes on the CPU. Collective: throws on every rank where one finds no card for itself. `world` must
// outlive the result.
std::unique_ptr<Communicator> make_cards(const RunConfig& config, Communicator& world);

// A stream of this rank.
Stream make_compute_stream(const RunConfig& config, const Communicator& world,
                           StreamPriority priority = StreamPriority::kNormal);

}  // namespace engram
