#include "trainer/estimate.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <utility>

#include "data/token_store.h"
#include "kernels/attention.h"
#include "model/accounting.h"
#include "parallel/row_layout.h"
#include "trainer/compute.h"
#include "trainer/progress.h"
#include "trainer/replica.h"

namespace engram {
namespace {

// Working figures for an H200 with CUDA 13, to be held against the memory that `engram bench step` prints.
constexpr int64_t kContextBytes = int64_t{640} << 20;         // code of all kernels and libraries that a step loads
constexpr int64_t kCommunicationBytes = int64_t{1280} << 20;  // NCCL's buffers and channels
constexpr int64_t kWorkspaceBytes = int64_t{128} << 20;       // of the streams that compute and that prepare

// Of the CPU, measured on Debian 12 (docs/results/estimate.md).
constexpr int64_t kProcessBytes = int64_t{26} << 20;  // program and libraries
constexpr int64_t kMpiBytes = int64_t{8} << 20;       // MPI, and for each rank its shared memory
constexpr int64_t kMpiBytesPerRank = int64_t{1} << 20;
constexpr int64_t kSavingBytes = int64_t{5} << 20;  // chunks that HDF5 holds
constexpr double kTokenizerBytesPerByte = 6.5;      // in memory, of tokenizer.json
constexpr const char* kDataLine = "indexes of stores, tokenizer";
// Of checkpoints: what HDF5 adds to each dataset and file, configuration and manifest included.
constexpr int64_t kDatasetBytes = 260;
constexpr int64_t kFileBytes = 2600;

// Rows and gradients, as the reader's and as the owner's; of every request its gradient, its key, its place among the
// distinct ones and in their segments, and the sort's copies. Distinct rows are no more than there are.
int64_t exchange_on_cuda(int64_t requests, int64_t num_rows, int64_t width) {
  const int64_t per_row = 2 * width * (size_of(DType::kBFloat16) + size_of(DType::kFloat32));
  const int64_t per_request = width * size_of(DType::kBFloat16) + 5 * size_of(DType::kInt64);
  return std::min(requests, num_rows) * per_row + requests * per_request;
}

// Tables, and the exchange of a step's rows. A step on the card with tables on the host has the rows and state of two
// steps there, and of those that leave; on their way they are in host memory once more, both ways.
void add_tables(const RunConfig& config, int64_t world_size, MemoryEstimate& m) {
  const EngramConfig& engram = config.model.engram;
  const bool on_cuda = config.device == DeviceChoice::kCuda;
  const DType dtype = accumulator(model_dtype(config));
  const int64_t width = engram.row_width(), row_bytes = width * size_of(dtype);
  const int64_t state_bytes = table_state_bytes_per_row(config.optimizer.table.kind, width, dtype);
  const RowLayout layout(table_rows(config.model), static_cast<int>(world_size));
  const int64_t slots = layout.num_slots(0);
  const int64_t requests = config.train.global_batch / world_size * config.data.seq_len * engram.num_columns() *
                           static_cast<int64_t>(engram.layers.size());
  m.tables = slots * row_bytes;
  m.table_optimizer = slots * state_bytes;
  m.exchange = on_cuda ? exchange_on_cuda(requests, layout.end_row(), width)
                       : requests * 5 * row_bytes;  // the same, all requests taken as distinct
  if (config.parallel.table_placement == TablePlacement::kDevice) return;
  const int64_t moved = std::min(requests, slots) * (row_bytes + state_bytes);
  m.exchange += 3 * moved;
  if (!on_cuda) {
    m.exchange += 2 * moved;
    return;
  }
  m.host.rows = 2 * moved;
  m.host.tables = std::exchange(m.tables, 0);
  m.host.table_optimizer = std::exchange(m.table_optimizer, 0);
}

// Rows of a micro-batch that go to experts of other ranks, and those that come, see ExpertExchange.
int64_t expert_exchange(const RunConfig& config, DType dtype) {
  if (config.parallel.expert == 1) return 0;
  const int64_t row_bytes = config.model.hidden * size_of(dtype);
  const int64_t sent = config.train.micro_batch * config.data.seq_len * config.model.moe.top_k * row_bytes;
  const double room = std::min(config.parallel.expert_headroom, static_cast<double>(config.parallel.expert));
  return sent + static_cast<int64_t>(static_cast<double>(sent) * room);
}

int64_t file_bytes(const std::string& path) {
  std::error_code missing;
  const auto size = std::filesystem::file_size(path, missing);
  return missing ? 0 : static_cast<int64_t>(size);
}

// The tokens of stores stay in their files.
int64_t data_bytes(const RunConfig& config) {
  const auto tokenizer = static_cast<double>(file_bytes(config.data.tokenizer));
  int64_t num_bytes =
      TokenStore::memory_of(config.data.validation) + static_cast<int64_t>(kTokenizerBytesPerByte * tokenizer);
  for (const TrainingStore& part : config.data.train) num_bytes += TokenStore::memory_of(part.store);
  return num_bytes;
}

// What the model registers, in no memory.
ParameterStore registered(const RunConfig& config) {
  ParameterStore store(model_dtype(config));
  const LanguageModel model(store, config.model, {});
  return store;
}

// Of one array of a checkpoint, which is copied before it is written.
int64_t largest_slice(const RunConfig& config, int64_t world_size) {
  ParameterStore store = registered(config);
  Stream stream = DryQueue{};
  store.allocate(stream, static_cast<int>(world_size), bucket_elements(config));
  int64_t part = 0, parameter = 0;
  for (const ParameterBucket& each : store.buckets()) part = std::max(part, each.ownership.part_size());
  for (const Parameter& each : store.parameters()) parameter = std::max(parameter, each.numel());
  return std::min(part, parameter);
}

// What a rank on the CPU holds besides the model. A sum over MPI ranks takes all parts first. A save beside the
// training copies all that the rank stores; one that training waits for copies an array at a time, when no sum is made.
void add_process(const RunConfig& config, int64_t world_size, MemoryEstimate& m) {
  const int64_t wide = size_of(accumulator(model_dtype(config)));
  m.data = data_bytes(config);
  const int64_t summed = world_size > 1 ? m.gradients : 0;
  m.workspace = config.checkpoint.asynchronous
                    ? summed + checkpoint_bytes(config, world_size) / world_size + kSavingBytes
                    : std::max(summed, largest_slice(config, world_size) * wide + kSavingBytes);
  m.context = kProcessBytes + (world_size > 1 ? kMpiBytes + world_size * kMpiBytesPerRank : 0);
}

std::string mebibytes(int64_t num_bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(num_bytes) / (1 << 20));
}

void add_line(std::string& text, const char* what, const std::string& value) {
  text += fmt::format("  {:<28}{:>16}\n", what, value);
}

void add_count(std::string& text, const char* what, int64_t count) {
  if (count > 0) add_line(text, what, scaled_text(static_cast<double>(count)));
}

void add_parameters(std::string& text, const ParameterCount& n) {
  text += "parameters\n";
  add_count(text, "embedding", n.embedding);
  add_count(text, "head", n.head);
  add_count(text, "attention", n.attention);
  add_count(text, "dense feed-forward", n.dense_feed_forward);
  add_count(text, "shared experts", n.shared_experts);
  add_count(text, "routed experts", n.routed_experts);
  add_count(text, "router", n.router);
  add_count(text, "Engram tables", n.engram_tables);
  add_count(text, "Engram projections", n.engram_projections + n.engram_conv);
  add_count(text, "norms and connections", n.norms + n.connections);
  add_count(text, "total", n.total());
  add_count(text, "active (no head, embedding)", n.active());
  add_count(text, "sparse (idle experts, tables)", n.sparse());
}

void add_memory(std::string& text, const MemoryEstimate& m, int64_t world_size) {
  text += fmt::format("memory of each of {} ranks\n", world_size);
  add_line(text, "parameters", mebibytes(m.parameters));
  add_line(text, "gradients", mebibytes(m.gradients));
  add_line(text, "optimizer", mebibytes(m.optimizer));
  if (m.tables > 0) {
    add_line(text, "tables", mebibytes(m.tables));
    add_line(text, "table optimizer", mebibytes(m.table_optimizer));
  }
  if (m.exchange > 0) add_line(text, "row exchange, at most", mebibytes(m.exchange));
  if (m.expert_exchange > 0) add_line(text, "expert exchange, at most", mebibytes(m.expert_exchange));
  add_line(text, "activations", mebibytes(m.activations));
  if (m.data > 0) add_line(text, kDataLine, mebibytes(m.data));
  add_line(text, "workspace", mebibytes(m.workspace));
  add_line(text, "program, libraries, driver", mebibytes(m.context));
  add_line(text, "total", mebibytes(m.total()));
}

void add_host_memory(std::string& text, const HostMemoryEstimate& host) {
  if (host.total() == 0) return;
  text += "host memory of each rank, program and libraries not counted\n";
  if (host.tables > 0) {
    add_line(text, "tables", mebibytes(host.tables));
    add_line(text, "table optimizer", mebibytes(host.table_optimizer));
    add_line(text, "rows on their way, at most", mebibytes(host.rows));
  }
  if (host.saving > 0) add_line(text, "copy of what is saved", mebibytes(host.saving));
  if (host.data > 0) add_line(text, kDataLine, mebibytes(host.data));
  add_line(text, "total", mebibytes(host.total()));
}

}  // namespace

MemoryEstimate estimate_memory(const RunConfig& config, int64_t world_size) {
  const bool on_cuda = config.device == DeviceChoice::kCuda;
  const DType dtype = model_dtype(config);
  const int64_t narrow = size_of(dtype), wide = size_of(accumulator(dtype));
  const ParameterCount count = count_parameters(config.model);
  const int64_t dense = count.dense();
  const int64_t local = dense - count.routed_experts + count.routed_experts / config.parallel.expert;
  MemoryEstimate m;
  m.parameters = local * narrow;
  m.gradients = local * wide;
  const int64_t moments = 2 * size_of(moment_dtype(config.optimizer.dense, dtype));
  m.optimizer = dense * (moments + (narrow < wide ? wide : 0)) / world_size;  // and the master copy of narrow values
  m.activations = activation_bytes(config, world_size, dtype);
  m.expert_exchange = expert_exchange(config, dtype);
  if (config.model.engram.enabled()) add_tables(config, world_size, m);
  if (!on_cuda) add_process(config, world_size, m);
  if (on_cuda) {
    const AttentionConfig& a = config.model.attention;
    m.workspace = kWorkspaceBytes + attention_workspace_bytes(dtype, {config.train.micro_batch, config.data.seq_len,
                                                                      a.num_heads, a.head_dim});
    m.context = kContextBytes + (world_size > 1 ? kCommunicationBytes : 0);
    m.host.data = data_bytes(config);
    if (config.checkpoint.asynchronous) m.host.saving = checkpoint_bytes(config, world_size) / world_size;
  }
  return m;
}

int64_t checkpoint_bytes(const RunConfig& config, int64_t world_size) {
  const DType dtype = model_dtype(config);
  const int64_t wide = size_of(accumulator(dtype));
  const ParameterStore store = registered(config);
  int64_t num_bytes = store.numel() * (wide + 2 * size_of(moment_dtype(config.optimizer.dense, dtype)));
  int64_t num_datasets = 3 * (std::ssize(store.parameters()) + world_size - 1) + std::ssize(store.states());
  for (const StateArray& state : store.states()) num_bytes += state.value.num_bytes();
  if (config.model.engram.enabled()) {
    constexpr int64_t kArraysOfTable = 6;  // weights, optimizer state, which rows
    const int64_t width = config.model.engram.row_width();
    const std::vector<int64_t> rows = table_rows(config.model);
    const int64_t row_bytes =
        width * wide + table_state_bytes_per_row(config.optimizer.table.kind, width, accumulator(dtype));
    num_bytes += std::accumulate(rows.begin(), rows.end(), int64_t{0}) * row_bytes;
    num_datasets += std::ssize(rows) * world_size * kArraysOfTable;
  }
  return num_bytes + num_datasets * kDatasetBytes + (world_size + 1) * kFileBytes;
}

std::string estimate_text(const RunConfig& config, int64_t world_size) {
  std::string text;
  add_parameters(text, count_parameters(config.model));
  text += "work\n";
  add_line(text, "training FLOPs per token", scaled_text(training_flops_per_token(config.model, config.data.seq_len)));
  add_line(text, "tokens per step", scaled_text(static_cast<double>(config.train.global_batch * config.data.seq_len)));
  if (config.model.connections.streams == 1 && config.model.attention.kind == AttentionKind::kGqa) {
    const MemoryEstimate memory = estimate_memory(config, world_size);
    add_memory(text, memory, world_size);
    add_host_memory(text, memory.host);
    text += "checkpoint\n";
    add_line(text, "of all ranks", mebibytes(checkpoint_bytes(config, world_size)));
    add_line(text, "files", std::to_string(world_size + 2));  // one of each rank, manifest, configuration
  }
  return text;
}

}  // namespace engram
