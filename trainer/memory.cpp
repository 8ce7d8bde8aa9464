#include "trainer/memory.h"

#include "kernels/core/device.h"

namespace engram {
namespace {

RowLayout make_layout(const EngramConfig& config, int num_ranks) {
  return {rows_per_table(make_ngram_layout(config, 1)), num_ranks};  // row counts do not depend on the vocabulary
}

}  // namespace

Memory::Memory(Stream& stream, Communicator& group, const RunConfig& config, const VocabularyMap& vocabulary,
               DType dtype)
    : layout_(make_layout(config.model.engram, group.size())),
      addresses_(stream, config.model.engram, vocabulary.compressed_ids, vocabulary.num_keys, layout_),
      table_(stream, layout_, group.rank(),
             {.width = config.model.engram.row_width(),
              .dtype = dtype,
              .seed = static_cast<uint64_t>(config.run.seed),
              .deviation = config.model.engram.table_init_std}),
      optimizer_(stream, config.optimizer, table_.weight()),
      exchange_(group, layout_, {.width = table_.width(), .dtype = dtype}) {}

void Memory::begin_fetch(Stream& stream, Arena& arena, const StepBatch& batch, int64_t micro_batch) {
  const int64_t num_micro_batches = batch.num_sequences / micro_batch;
  rows_per_micro_batch_ = addresses_.num_layers() * micro_batch * batch.seq_len * addresses_.num_columns();
  Arena::Scope scope(arena);
  const Tensor rows = arena.take("memory.rows", DType::kInt64, {num_micro_batches * rows_per_micro_batch_});
  for (int64_t i = 0; i < num_micro_batches; ++i) {
    addresses_.rows(stream, arena, batch.hash_tokens.rows(i * micro_batch, micro_batch),
                    batch.hash_starts.rows(i * micro_batch, micro_batch),
                    rows.rows(i * rows_per_micro_batch_, rows_per_micro_batch_));
  }
  exchange_.plan(stream, rows, plan_);
  fetched_ = FetchedRows(exchange_.begin_fetch(stream, table_.weight(), plan_));
  row_grads_ = row_grads_memory_.take(device_of(stream), accumulator(table_.weight().dtype),
                                      {plan_.num_unique(), table_.width()});
  zero(stream, row_grads_);
}

MemoryRows Memory::micro_batch(int64_t micro_batch_idx) {
  MemoryRows result{.fetched = &fetched_, .row_grads = row_grads_, .index = {}};
  const int64_t per_layer = rows_per_micro_batch_ / addresses_.num_layers();
  for (int64_t layer = 0; layer < addresses_.num_layers(); ++layer) {
    result.index.push_back(
        plan_.inverse().rows(micro_batch_idx * rows_per_micro_batch_ + layer * per_layer, per_layer));
  }
  return result;
}

const Tensor& Memory::return_gradients(Stream& stream) {
  merged_grads_ = exchange_.return_gradients(stream, row_grads_, plan_).wait(stream);
  return merged_grads_;
}

void Memory::update(Stream& stream, const Tensor& control) const {
  optimizer_.update(stream, control, plan_.own_slots(), merged_grads_);
}

}  // namespace engram
