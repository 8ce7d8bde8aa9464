#include "trainer/evaluate.h"

#include <algorithm>
#include <array>

#include "kernels/core/device.h"
#include "kernels/sum.h"
#include "trainer/forward.h"

namespace engram {
namespace {

// Sum of the losses of one micro-batch.
double micro_batch_loss(Replica& r, const StepBatch& batch) {
  LanguageModel::Saved saved;
  const Tensor hidden = forward_batch(r, batch, saved);
  Context ctx = r.context(batch.num_sequences, batch.seq_len);
  const Tensor losses = r.arena.take("losses", accumulator(hidden.dtype), {ctx.num_tokens()});
  r.model.loss(ctx, hidden, batch.micro_batch(0, batch.num_sequences).targets, {.with_gradient = false}, losses);
  const Tensor total = r.arena.take("loss_sum", DType::kFloat64, {1});
  zero(r.stream, total);
  sum(r.stream, losses, total);
  double value = 0;
  copy(r.stream, total, Tensor(&value, DType::kFloat64, {1}));
  synchronize(r.stream);
  return value;
}

}  // namespace

double evaluate(Replica& r, const BatchLoader& loader, int64_t num_samples, const Requests& requests) {
  const int64_t micro_batch = r.config.train.micro_batch, round = micro_batch * r.world.size();
  double loss = 0;
  BatchMemory memory;
  // A rank that has no samples left goes on with ignored ones: the fetch of a round is collective.
  for (int64_t begin = 0; begin < num_samples; begin += round) {
    Arena::Scope scope(r.arena);
    const int64_t first = begin + r.world.rank() * micro_batch;
    const StepBatch batch = memory.upload(r.stream, loader.load(first, micro_batch), r.config.model.engram,
                                          std::clamp<int64_t>(num_samples - first, 0, micro_batch));
    std::array<double, 2> sums{micro_batch_loss(r, batch), weight_of(requests.poll())};
    all_reduce_sum<double>(r.world, sums);
    loss += sums[0];
    if (const Request request = strongest_in(sums[1]); asks_to_leave(request)) throw Interrupted(request);
  }
  return loss / static_cast<double>(num_samples * r.config.data.seq_len);
}

}  // namespace engram
