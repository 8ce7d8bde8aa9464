#include "trainer/memory.h"

#include <algorithm>
#include <cassert>
#include <numeric>

#include "kernels/core/device.h"
#include "kernels/row_gather.h"
#include "kernels/row_segment_sum.h"
#include "parallel/mesh.h"
#include "trainer/host_memory.h"

namespace engram {
namespace {

RowLayout make_layout(const EngramConfig& config, int num_ranks) {
  return {rows_per_table(make_ngram_layout(config, 1)), num_ranks};  // row counts do not depend on the vocabulary
}

// For tables on the host: the ranks of a machine share its cores, about as many to each card.
int host_threads(const RunConfig& config) {
  const bool on_host = config.parallel.table_placement == TablePlacement::kHost;
  return on_host && config.device == DeviceChoice::kCuda ? 8 : 1;
}

// This rank's rows, on the device or on the host.
MemoryTable make_table(Stream& stream, const Mesh& mesh, const RunConfig& config, const RowLayout& layout,
                       DType dtype) {
  const int shard = mesh.table().shard->rank();
  const MemoryTableOptions options{.width = config.model.engram.row_width(),
                                   .dtype = accumulator(dtype),
                                   .seed = static_cast<uint64_t>(config.run.seed),
                                   .deviation = config.model.engram.table_init_std,
                                   .num_threads = host_threads(config)};
  if (device_of(stream) == Device::kCpu) {
    const int64_t row_bytes = options.width * size_of(options.dtype) +
                              table_state_bytes_per_row(config.optimizer.table.kind, options.width, options.dtype);
    const int64_t num_copies = config.checkpoint.asynchronous ? 2 : 1;
    check_host_memory(mesh.world(), layout.num_slots(shard) * row_bytes * num_copies);
  }
  return {stream, layout, shard, options};
}

template <class T>
int64_t count_nonzero(Stream& stream, const Tensor& values) {
  constexpr int64_t kPiece = int64_t{1} << 20;
  std::vector<T> piece(static_cast<size_t>(std::min(kPiece, values.numel())));
  int64_t num_zero = 0;
  for (int64_t first = 0; first < values.numel(); first += kPiece) {
    const int64_t count = std::min(kPiece, values.numel() - first);
    copy(stream, values.rows(first, count), Tensor(piece.data(), values.dtype, {count}));
    synchronize(stream);
    num_zero += std::count(piece.begin(), piece.begin() + count, T(0));
  }
  return values.numel() - num_zero;
}

}  // namespace

Memory::Memory(Stream& stream, const Mesh& mesh, const RunConfig& config, const VocabularyMap& vocabulary, DType dtype)
    : group_(*mesh.table().shard),
      layout_(make_layout(config.model.engram, group_.size())),
      addresses_(stream, config.model.engram, vocabulary.compressed_ids, vocabulary.num_keys, layout_),
      is_on_host_(config.parallel.table_placement == TablePlacement::kHost),
      table_(make_table(is_on_host_ ? host_ : stream, mesh, config, layout_, dtype)),
      optimizer_(is_on_host_ ? host_ : stream, config.optimizer, table_.weight(), host_threads(config)),
      exchange_(group_, layout_, {.width = table_.width(), .dtype = dtype}) {
  if (is_on_host_) stage_.emplace(device_of(stream), optimizer_.arrays(), host_threads(config));
}

void Memory::begin_prepare(Stream& stream, const StepBatch& batch, int64_t micro_batch) {
  Prepared& prepared = ahead(is_next_prepared_ ? 2 : 1);
  prepared.used.hold(stream);
  exchange_.begin_plan(stream, find_rows(stream, batch, micro_batch, prepared), prepared.plan);
}

void Memory::finish_prepare(Stream& stream) {
  assert(!is_next_prepared_);
  RowPlan& plan = ahead(1).plan;
  exchange_.finish_plan(stream, plan);
  if (stage_) {
    exchange_.count_own(plan);
    stage_->prepare(stream, plan.own_slots());
  }
  is_next_prepared_ = true;
}

void Memory::begin_fetch(Stream& stream) {
  ENGRAM_CHECK(is_next_prepared_, "memory: a fetch of rows that were not prepared");
  current().used.record(stream);
  current_ = (current_ + 1) % prepared_.size();
  is_next_prepared_ = false;
  RowPlan& plan = current().plan;
  if (!stage_) return fetch(stream, exchange_.begin_fetch(stream, table_.weight(), plan));
  stage_->begin(stream);
  const Tensor rows =
      own_rows_memory_.take(device_of(stream), exchange_.row_type().dtype, {plan.num_own_unique(), table_.width()});
  row_gather(stream, stage_->arrays()[0], stage_->indices(), rows);
  fetch(stream, exchange_.begin_fetch_staged(stream, rows, plan));
}

void Memory::begin_fetch(Stream& stream, const StepBatch& batch, int64_t micro_batch) {
  RowPlan& plan = current().plan;
  exchange_.plan(stream, find_rows(stream, batch, micro_batch, current()), plan);
  if (!stage_) return fetch(stream, exchange_.begin_fetch(stream, table_.weight(), plan));
  stage_->write_back(stream);
  fetch(stream, exchange_.begin_fetch_staged(stream, stage_->read(stream, plan.own_slots()), plan));
}

// Of all requests of the batch; they live as long as `prepared` is not filled anew.
Tensor Memory::find_rows(Stream& stream, const StepBatch& batch, int64_t micro_batch, Prepared& prepared) const {
  const Device device = device_of(stream);
  const int64_t num_micro_batches = batch.num_sequences / micro_batch, num_tokens = micro_batch * batch.seq_len;
  const int64_t num_rows = addresses_.num_layers() * num_tokens * addresses_.num_columns();
  const Tensor rows = prepared.rows_memory.take(device, DType::kInt64, {num_micro_batches * num_rows});
  const Tensor compressed =
      prepared.compressed_memory.take(device, DType::kInt32, {micro_batch, batch.seq_len + history()});
  for (int64_t i = 0; i < num_micro_batches; ++i) {
    addresses_.rows(stream, batch.hash_tokens.rows(i * micro_batch, micro_batch),
                    batch.hash_starts.rows(i * micro_batch, micro_batch), compressed,
                    rows.rows(i * num_rows, num_rows));
  }
  prepared.rows_per_micro_batch = num_rows;
  return rows;
}

void Memory::fetch(Stream& stream, PendingRows rows) {
  const RowPlan& plan = current().plan;
  fetched_ = FetchedRows(std::move(rows));
  grads_ = grads_memory_.take(device_of(stream), exchange_.row_type().dtype, {plan.num_requests(), table_.width()});
}

MemoryRows Memory::micro_batch(int64_t micro_batch_idx) {
  MemoryRows result{.fetched = &fetched_, .index = {}, .grads = {}};
  const int64_t per_micro_batch = current().rows_per_micro_batch, per_layer = per_micro_batch / addresses_.num_layers();
  for (int64_t layer = 0; layer < addresses_.num_layers(); ++layer) {
    const int64_t first = micro_batch_idx * per_micro_batch + layer * per_layer;
    result.index.push_back(current().plan.inverse().rows(first, per_layer));
    result.grads.push_back(grads_.rows(first, per_layer));
  }
  return result;
}

PendingRows Memory::return_gradients(Stream& stream) {
  RowPlan& plan = current().plan;
  const Tensor sums = sums_memory_.take(device_of(stream), table_.weight().dtype, {plan.num_unique(), table_.width()});
  row_segment_sum(stream, grads_, plan.segments(), sums);
  return exchange_.return_gradients(stream, sums, plan);
}

void Memory::update(Stream& stream, const Tensor& control, const Tensor& merged) const {
  if (stage_)
    optimizer_.update(stream, control, stage_->indices(), merged, stage_->arrays());
  else
    optimizer_.update(stream, control, current().plan.own_slots(), merged);
}

void Memory::write_back(Stream& stream) {
  if (stage_) stage_->write_back(stream);
}

std::optional<double> Memory::share_touched(Stream& stream) {
  const OptimizerState& state = optimizer_.state();
  if (state.empty() || state.back().value.rank != 1) return std::nullopt;
  write_back(stream);
  const Tensor& per_row = state.back().value;
  Stream& its_stream = is_on_host_ ? host_ : stream;
  int64_t num_touched = 0;
  if (per_row.dtype == DType::kInt32) num_touched = count_nonzero<int32_t>(its_stream, per_row);
  if (per_row.dtype == DType::kFloat32) num_touched = count_nonzero<float>(its_stream, per_row);
  if (per_row.dtype == DType::kFloat64) num_touched = count_nonzero<double>(its_stream, per_row);
  all_reduce_sum<int64_t>(group_, std::span(&num_touched, 1));
  const auto rows = layout_.rows_per_table();
  return static_cast<double>(num_touched) / static_cast<double>(std::reduce(rows.begin(), rows.end()));
}

}  // namespace engram
