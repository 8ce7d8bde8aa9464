#include "trainer/estimate.h"

#include <fmt/format.h>

#include <algorithm>

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

// Rows and gradients, as the reader's and as the owner's; of every request its key, its place among the distinct ones
// and the sort's copies of both. Distinct rows are no more than there are.
int64_t exchange_on_cuda(int64_t requests, int64_t num_rows, int64_t width) {
  const int64_t per_row = 2 * width * (size_of(DType::kBFloat16) + size_of(DType::kFloat32));
  return std::min(requests, num_rows) * per_row + requests * 4 * size_of(DType::kInt64);
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
    add_line(text, "row exchange, at most", mebibytes(m.exchange));
  }
  add_line(text, "activations", mebibytes(m.activations));
  if (m.context > 0) {
    add_line(text, "workspace", mebibytes(m.workspace));
    add_line(text, "driver and libraries", mebibytes(m.context));
  }
  add_line(text, "total", mebibytes(m.total()));
}

}  // namespace

MemoryEstimate estimate_memory(const RunConfig& config, int64_t world_size) {
  const EngramConfig& engram = config.model.engram;
  const bool on_cuda = config.device == DeviceChoice::kCuda;
  const DType dtype = model_dtype(config);
  const int64_t narrow = size_of(dtype), wide = size_of(accumulator(dtype));
  const ParameterCount count = count_parameters(config.model);
  const int64_t dense = count.dense();
  const int64_t local = dense - count.routed_experts + count.routed_experts / config.parallel.expert;
  MemoryEstimate m;
  m.parameters = local * narrow;
  m.gradients = local * wide;
  m.optimizer =
      (dtype == DType::kBFloat16 ? 3 : 2) * dense * wide / world_size;  // moments, and the master copy of narrow values
  m.activations = activation_bytes(config, world_size, dtype);
  if (engram.enabled()) {
    const int64_t width = engram.row_width();
    const RowLayout layout(table_rows(config.model), static_cast<int>(world_size));
    const int64_t slots = layout.num_slots(0);
    m.tables = slots * width * wide;
    m.table_optimizer = slots * table_state_bytes_per_row(config.optimizer.table.kind, width, accumulator(dtype));
    const int64_t requests = config.train.global_batch / world_size * config.data.seq_len * engram.num_columns() *
                             static_cast<int64_t>(engram.layers.size());
    m.exchange = on_cuda ? exchange_on_cuda(requests, layout.end_row(), width)
                         : requests * 4 * width * wide;  // rows and gradients, as the reader's and as the owner's
  }
  if (on_cuda) {
    const AttentionConfig& a = config.model.attention;
    m.workspace = kWorkspaceBytes + attention_workspace_bytes(dtype, {config.train.micro_batch, config.data.seq_len,
                                                                      a.num_heads, a.head_dim});
    m.context = kContextBytes + (world_size > 1 ? kCommunicationBytes : 0);
  }
  return m;
}

std::string estimate_text(const RunConfig& config, int64_t world_size) {
  std::string text;
  add_parameters(text, count_parameters(config.model));
  text += "work\n";
  add_line(text, "training FLOPs per token", scaled_text(training_flops_per_token(config.model, config.data.seq_len)));
  add_line(text, "tokens per step", scaled_text(static_cast<double>(config.train.global_batch * config.data.seq_len)));
  if (config.model.connections.streams == 1 && config.model.attention.kind == AttentionKind::kGqa) {
    add_memory(text, estimate_memory(config, world_size), world_size);
  }
  return text;
}

}  // namespace engram
