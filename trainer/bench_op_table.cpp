// The ops of a training step, each with the tensors it works on. A new op gets a line here.
#include "kernels/adamw.h"
#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/engram_gate.h"
#include "kernels/expert_matmul.h"
#include "kernels/expert_permute.h"
#include "kernels/global_norm.h"
#include "kernels/matmul.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/router.h"
#include "kernels/row_gather.h"
#include "kernels/row_segment_sum.h"
#include "kernels/row_update.h"
#include "kernels/short_conv.h"
#include "kernels/softmax_xent.h"
#include "kernels/swiglu.h"
#include "kernels/unique_rows.h"
#include "model/accounting.h"
#include "trainer/bench_ops.h"

namespace engram {
namespace {

using Call = std::function<void()>;

int64_t choices(const OpInputs& b) { return b.tokens() * b.config.model.moe.top_k; }

// y [n, out] = x [n, in] W^T, and the two products of its backward pass.
void add_linear(std::vector<BenchOp>& ops, const std::string& name, int64_t out, int64_t in) {
  const auto flops = [=](const OpInputs& b) {
    return 2.0 * static_cast<double>(b.tokens()) * static_cast<double>(out) * static_cast<double>(in);
  };
  ops.push_back({"matmul " + name, [=](OpInputs& b) -> Call {
                   const Tensor x = b.in({b.tokens(), in}), w = b.in({out, in}), y = b.out({b.tokens(), out});
                   b.flops = flops(b);
                   return [=, &b] { matmul(b.stream, x, w, y, {.transpose_b = true}); };
                 }});
  ops.push_back({"matmul " + name + " backward input", [=](OpInputs& b) -> Call {
                   const Tensor dy = b.in({b.tokens(), out}), w = b.in({out, in}), dx = b.out({b.tokens(), in});
                   b.flops = flops(b);
                   return [=, &b] { matmul(b.stream, dy, w, dx, {}); };
                 }});
  ops.push_back({"matmul " + name + " backward weight", [=](OpInputs& b) -> Call {
                   const Tensor dy = b.in({b.tokens(), out}), x = b.in({b.tokens(), in}), dw = b.both_wide({out, in});
                   b.flops = flops(b);
                   return [=, &b] { matmul(b.stream, dy, x, dw, {.transpose_a = true, .accumulate = true}); };
                 }});
}

void add_dense_ops(std::vector<BenchOp>& ops, const ModelConfig& m) {
  const int64_t d = m.hidden, vocab = m.vocab_size;
  ops.push_back({"embedding_forward", [=](OpInputs& b) -> Call {
                   const Tensor tokens = b.in_ids(DType::kInt32, {b.tokens()}, vocab, /*zipf=*/true);
                   const Tensor table = b.held({vocab, d}, b.dtype), y = b.out({b.tokens(), d});
                   return [=, &b] { embedding_forward(b.stream, tokens, table, y); };
                 }});
  ops.push_back({"embedding_backward", [=](OpInputs& b) -> Call {
                   const Tensor tokens = b.in_ids(DType::kInt32, {b.tokens()}, vocab, /*zipf=*/true);
                   const Tensor dy = b.in({b.tokens(), d}), dtable = b.held({vocab, d}, accumulator(b.dtype));
                   return [=, &b] { embedding_backward(b.stream, tokens, dy, dtable); };
                 }});
  ops.push_back({"add", [=](OpInputs& b) -> Call {
                   const Tensor x = b.in({b.tokens(), d}), y = b.in({b.tokens(), d}), sum = b.out({b.tokens(), d});
                   return [=, &b] { add(b.stream, x, y, sum); };
                 }});
  ops.push_back({"rms_norm_forward", [=](OpInputs& b) -> Call {
                   const Tensor x = b.in({b.tokens(), d}), weight = b.in({d}), y = b.out({b.tokens(), d});
                   const Tensor inv_rms = b.out_wide({b.tokens()});
                   return [=, &b] { rms_norm_forward(b.stream, x, weight, 1e-6, y, inv_rms); };
                 }});
  ops.push_back({"add_rms_norm_forward", [=](OpInputs& b) -> Call {
                   const Tensor x = b.in({b.tokens(), d}), delta = b.in({b.tokens(), d}), weight = b.in({d});
                   const Tensor sum = b.out({b.tokens(), d}), y = b.out({b.tokens(), d});
                   const Tensor inv_rms = b.out_wide({b.tokens()});
                   return [=, &b] { add_rms_norm_forward(b.stream, x, delta, weight, 1e-6, sum, y, inv_rms); };
                 }});
  ops.push_back({"rms_norm_backward", [=](OpInputs& b) -> Call {
                   const Tensor x = b.in({b.tokens(), d}), weight = b.in({d}), inv_rms = b.in_wide({b.tokens()});
                   const Tensor dy = b.in({b.tokens(), d}), dsum = b.in({b.tokens(), d});
                   const Tensor dx = b.out({b.tokens(), d}), dweight = b.both_wide({d});
                   return [=, &b] { rms_norm_backward(b.stream, x, weight, inv_rms, dy, dsum, dx, dweight); };
                 }});
  ops.push_back({"softmax_xent", [=](OpInputs& b) -> Call {
                   const int64_t rows = std::min(b.tokens(), b.config.train.logits_chunk);
                   const Tensor logits = b.in({rows, vocab}), dlogits = b.out({rows, vocab});
                   const Tensor targets = b.in_ids(DType::kInt32, {rows}, vocab), loss = b.out_wide({rows});
                   return [=, &b] { softmax_xent(b.stream, logits, targets, 1.0, loss, dlogits); };
                 }});
}

// Queries, keys and values of a packed tensor, as one projection gives them.
std::array<HeadSlice, 3> slices(const Tensor& packed, const AttentionConfig& a) {
  return {HeadSlice(packed, 0, a.num_heads), HeadSlice(packed, a.num_heads, a.num_kv_heads),
          HeadSlice(packed, a.num_heads + a.num_kv_heads, a.num_kv_heads)};
}

std::array<int64_t, 4> heads_shape(const OpInputs& b, int64_t count) {
  return {b.config.train.micro_batch, b.config.data.seq_len, count, b.config.model.attention.head_dim};
}
Tensor heads_in(OpInputs& b, int64_t count) {
  const auto s = heads_shape(b, count);
  return b.in({s[0], s[1], s[2], s[3]});
}
Tensor heads_out(OpInputs& b, int64_t count) {
  const auto s = heads_shape(b, count);
  return b.out({s[0], s[1], s[2], s[3]});
}

void add_rope_ops(std::vector<BenchOp>& ops, const AttentionConfig& a) {
  const int64_t num_turned = a.num_heads + a.num_kv_heads;
  const auto norm = [=](OpInputs& b) -> QkNorm {
    if (!a.qk_norm) return {};
    return {
        .query_gain = b.in({a.head_dim}), .key_gain = b.in({a.head_dim}), .num_query_heads = a.num_heads, .eps = 1e-6};
  };
  ops.push_back({"rope_forward", [=](OpInputs& b) -> Call {
                   const Tensor x = heads_in(b, num_turned), y = heads_out(b, num_turned);
                   const Tensor table = b.in_wide({b.config.data.seq_len, a.head_dim / 2, 2});
                   return [=, &b, qk_norm = norm(b)] { rope_forward(b.stream, x, qk_norm, table, y); };
                 }});
  ops.push_back({"rope_backward", [=](OpInputs& b) -> Call {
                   const Tensor x = a.qk_norm ? heads_in(b, num_turned) : Tensor{};
                   const Tensor dy = heads_in(b, num_turned), dx = heads_out(b, num_turned);
                   const Tensor table = b.in_wide({b.config.data.seq_len, a.head_dim / 2, 2});
                   const Tensor dquery = a.qk_norm ? b.both_wide({a.head_dim}) : Tensor{};
                   const Tensor dkey = a.qk_norm ? b.both_wide({a.head_dim}) : Tensor{};
                   return
                       [=, &b, qk_norm = norm(b)] { rope_backward(b.stream, x, qk_norm, table, dy, dx, dquery, dkey); };
                 }});
}

void add_attention_ops(std::vector<BenchOp>& ops, const ModelConfig& m) {
  const AttentionConfig a = m.attention;
  const int64_t packed_heads = a.num_heads + 2 * a.num_kv_heads;
  const auto flops = [=](const OpInputs& b) {
    return 2.0 * static_cast<double>(b.tokens() * b.config.data.seq_len * a.num_heads * a.head_dim);
  };
  add_rope_ops(ops, a);
  ops.push_back({"attention_forward", [=](OpInputs& b) -> Call {
                   const auto x = slices(heads_in(b, packed_heads), a);
                   const Tensor out = heads_out(b, a.num_heads);
                   const Tensor lse = b.out_wide({out.size(0), out.size(2), out.size(1)});
                   b.flops = flops(b);
                   return [=, &b] { attention_forward(b.stream, x[0], x[1], x[2], out, lse); };
                 }});
  ops.push_back({"attention_backward", [=](OpInputs& b) -> Call {
                   const auto x = slices(heads_in(b, packed_heads), a), d = slices(heads_out(b, packed_heads), a);
                   const Tensor out = heads_in(b, a.num_heads), dout = heads_in(b, a.num_heads);
                   const Tensor lse = b.in_wide({out.size(0), out.size(2), out.size(1)});
                   attention_forward(b.stream, x[0], x[1], x[2], out, lse);
                   b.flops = 2.5 * flops(b);
                   return [=, &b] { attention_backward(b.stream, x[0], x[1], x[2], out, lse, dout, d[0], d[1], d[2]); };
                 }});
}

// How random tokens go to the experts, as a step has it; not counted.
ExpertPlan routed(OpInputs& b) {
  const int64_t num_experts = b.config.model.moe.num_experts, k = b.config.model.moe.top_k;
  const Tensor expert = b.held({b.tokens(), k}, DType::kInt32), load = b.held({num_experts}, DType::kInt64);
  const Tensor weight = b.held({b.tokens(), k}, accumulator(b.dtype));
  const Tensor bias = b.held({num_experts}, accumulator(b.dtype));
  const Tensor logits = b.random({b.tokens(), num_experts}, bias.dtype);
  const ExpertPlan plan{.offsets = b.held({num_experts + 1}, DType::kInt64),
                        .slot = b.held({b.tokens(), k}, DType::kInt64),
                        .choice = b.held({choices(b)}, DType::kInt64)};
  router_forward(b.stream, logits, bias, {.top_k = k, .scale = 1.0}, expert, weight, load);
  expert_permute_plan(b.stream, expert, plan);
  return plan;
}

void add_router_ops(std::vector<BenchOp>& ops, const ModelConfig& m) {
  const int64_t num_experts = m.moe.num_experts, k = m.moe.top_k, d = m.hidden;
  ops.push_back({"router_forward", [=](OpInputs& b) -> Call {
                   const Tensor logits = b.in_wide({b.tokens(), num_experts}), bias = b.in_wide({num_experts});
                   const Tensor expert = b.out({b.tokens(), k}, DType::kInt32), weight = b.out_wide({b.tokens(), k});
                   const Tensor load = b.held({num_experts}, DType::kInt64);
                   return [=, &b] { router_forward(b.stream, logits, bias, {.top_k = k}, expert, weight, load); };
                 }});
  ops.push_back({"router_backward", [=](OpInputs& b) -> Call {
                   const Tensor logits = b.in_wide({b.tokens(), num_experts});
                   const Tensor expert = b.in_ids(DType::kInt32, {b.tokens(), k}, num_experts);
                   const Tensor dweight = b.in_wide({b.tokens(), k}), dlogits = b.out_wide({b.tokens(), num_experts});
                   return [=, &b] { router_backward(b.stream, logits, expert, dweight, {.top_k = k}, dlogits); };
                 }});
  ops.push_back({"expert_permute_plan", [=](OpInputs& b) -> Call {
                   const Tensor expert = b.in_ids(DType::kInt32, {b.tokens(), k}, num_experts);
                   const ExpertPlan plan{.offsets = b.out({num_experts + 1}, DType::kInt64),
                                         .slot = b.out({b.tokens(), k}, DType::kInt64),
                                         .choice = b.out({choices(b)}, DType::kInt64)};
                   return [=, &b] { expert_permute_plan(b.stream, expert, plan); };
                 }});
  ops.push_back({"permute", [=](OpInputs& b) -> Call {
                   const ExpertPlan plan = routed(b);
                   const Tensor x = b.in({b.tokens(), d}), sorted = b.out({choices(b), d});
                   return [=, &b] { permute(b.stream, x, plan.slot, sorted); };
                 }});
  ops.push_back({"unpermute", [=](OpInputs& b) -> Call {
                   const ExpertPlan plan = routed(b);
                   const Tensor sorted = b.in({choices(b), d}), y = b.out({b.tokens(), d});
                   return [=, &b] { unpermute(b.stream, sorted, plan.slot, {}, y); };
                 }});
}

// One product of the experts: rows [r, in] by weight [num_experts, out, in], and its backward passes.
void add_expert_product(std::vector<BenchOp>& ops, const std::string& name, int64_t out, int64_t in) {
  const auto prepare = [=](OpInputs& b) {
    b.flops = 2.0 * static_cast<double>(choices(b)) * static_cast<double>(out) * static_cast<double>(in);
    return routed(b).offsets;
  };
  ops.push_back({"expert_matmul_forward " + name, [=](OpInputs& b) -> Call {
                   const Tensor offsets = prepare(b), x = b.in({choices(b), in}), y = b.out({choices(b), out});
                   const Tensor w = b.in({b.config.model.moe.num_experts, out, in});
                   return [=, &b] { expert_matmul_forward(b.stream, x, w, offsets, y); };
                 }});
  ops.push_back({"expert_matmul_backward_input " + name, [=](OpInputs& b) -> Call {
                   const Tensor offsets = prepare(b), dy = b.in({choices(b), out}), dx = b.out({choices(b), in});
                   const Tensor w = b.in({b.config.model.moe.num_experts, out, in});
                   return [=, &b] { expert_matmul_backward_input(b.stream, dy, w, offsets, dx); };
                 }});
  ops.push_back({"expert_matmul_backward_weight " + name, [=](OpInputs& b) -> Call {
                   const Tensor offsets = prepare(b), dy = b.in({choices(b), out}), x = b.in({choices(b), in});
                   const Tensor dw = b.both_wide({b.config.model.moe.num_experts, out, in});
                   return [=, &b] { expert_matmul_backward_weight(b.stream, dy, x, offsets, dw); };
                 }});
}

void add_swiglu_ops(std::vector<BenchOp>& ops, const ModelConfig& m) {
  const int64_t f = m.has_dense_layers() ? m.ffn_hidden : m.moe.shared_width();
  if (f == 0) return;
  ops.push_back({"swiglu_forward", [=](OpInputs& b) -> Call {
                   const Tensor gate_up = b.in({b.tokens(), 2 * f}), y = b.out({b.tokens(), f});
                   return [=, &b] { swiglu_forward(b.stream, gate_up, y); };
                 }});
  ops.push_back({"swiglu_backward", [=](OpInputs& b) -> Call {
                   const Tensor gate_up = b.in({b.tokens(), 2 * f}), dy = b.in({b.tokens(), f});
                   const Tensor dgate_up = b.out({b.tokens(), 2 * f});
                   return [=, &b] { swiglu_backward(b.stream, gate_up, dy, dgate_up); };
                 }});
}

// The routed experts' form, which weights the rows.
void add_weighted_swiglu_ops(std::vector<BenchOp>& ops, const ModelConfig& m) {
  const int64_t f = m.moe.expert_hidden, k = m.moe.top_k;
  ops.push_back({"weighted_swiglu_forward", [=](OpInputs& b) -> Call {
                   const Tensor choice = routed(b).choice, weight = b.in_wide({b.tokens(), k});
                   const Tensor gate_up = b.in({choices(b), 2 * f}), y = b.out({choices(b), f});
                   return [=, &b] { weighted_swiglu_forward(b.stream, gate_up, weight, choice, y); };
                 }});
  ops.push_back({"weighted_swiglu_backward", [=](OpInputs& b) -> Call {
                   const Tensor choice = routed(b).choice, weight = b.in_wide({b.tokens(), k});
                   const Tensor gate_up = b.in({choices(b), 2 * f}), dy = b.in({choices(b), f});
                   const Tensor dgate_up = b.out({choices(b), 2 * f}), dweight = b.out_wide({b.tokens(), k});
                   return
                       [=, &b] { weighted_swiglu_backward(b.stream, gate_up, weight, choice, dy, dgate_up, dweight); };
                 }});
}

// See update_control.h: applied, with no clipping, as the fifth update, at the peak rate.
Tensor update_control(OpInputs& b) { return b.values({1, 1, 5, 1}); }

void add_optimizer_ops(std::vector<BenchOp>& ops, const ModelConfig& model) {
  const int64_t size = std::min(count_parameters(model).dense(), int64_t{1} << 28);
  ops.push_back({"sum_of_squares", [=](OpInputs& b) -> Call {
                   const Tensor x = b.in_wide({size}), total = b.held({1}, DType::kFloat64);
                   return [=, &b] { sum_of_squares(b.stream, x, total); };
                 }});
  const auto adamw = [=](bool has_narrow_moments) {
    return [=](OpInputs& b) -> Call {
      const DType moment = has_narrow_moments ? DType::kBFloat16 : accumulator(b.dtype);
      const auto zeros = [&] { return b.count(b.count(b.held({size}, moment))); };
      const Tensor weight = b.both_wide({size}), grad = b.in_wide({size}), m = zeros(), v = zeros();
      const Tensor control = update_control(b);
      const Tensor rounded = b.dtype == DType::kBFloat16 ? b.out({size}) : Tensor{};
      const AdamWOptions options{.learning_rate = 1e-3};
      return [=, &b] { adamw_update(b.stream, options, control, weight, grad, m, v, rounded); };
    };
  };
  ops.push_back({"adamw_update", adamw(false)});
  ops.push_back({"adamw_update_bf16_moments", adamw(true)});
}

// Sizes of the fetch of one layer's rows.
struct RowSizes {
  explicit RowSizes(const ModelConfig& m)
      : columns(m.engram.num_columns()), width(m.engram.row_width()), rows(table_rows(m)[0]) {}
  int64_t columns, width, rows;
  int64_t requests(const OpInputs& b) const { return b.tokens() * columns; }
};

void add_row_ops(std::vector<BenchOp>& ops, const ModelConfig& m) {
  const RowSizes s(m);
  const auto ids = [=](OpInputs& b) { return b.in_ids(DType::kInt64, {s.requests(b)}, s.rows, /*zipf=*/true); };
  ops.push_back({"unique_rows", [=](OpInputs& b) -> Call {
                   const Tensor keys = ids(b), unique = b.out({s.requests(b)}, DType::kInt64);
                   const Tensor inverse = b.out({s.requests(b)}, DType::kInt64), count = b.held({1}, DType::kInt64);
                   const RowSegments segments{.order = b.out({s.requests(b)}, DType::kInt32),
                                              .offsets = b.out({s.requests(b) + 1}, DType::kInt32)};
                   return [=, &b] { unique_rows(b.stream, keys, s.rows, unique, inverse, segments, count); };
                 }});
  ops.push_back({"row_gather", [=](OpInputs& b) -> Call {
                   const Tensor rows = b.held({s.rows, s.width}, b.dtype), index = ids(b);
                   const Tensor out = b.out({s.requests(b), s.width});
                   b.count(out);  // what is written was read
                   return [=, &b] { row_gather(b.stream, rows, index, out); };
                 }});
  ops.push_back({"row_segment_sum", [=](OpInputs& b) -> Call {
                   const Tensor values = b.in({s.requests(b), s.width}), sums = b.out_wide({s.rows, s.width});
                   const RowSegments segments = b.in_segments(s.requests(b), s.rows);
                   return [=, &b] { row_segment_sum(b.stream, values, segments, sums); };
                 }});
  ops.push_back({"row_update_adam_dense", [=](OpInputs& b) -> Call {
                   const int64_t touched = s.rows / 2;
                   const Tensor slots = b.progression(touched, 2), grad = b.in_wide({touched, s.width});
                   const Tensor weight = b.both_wide({s.rows, s.width}), control = update_control(b);
                   const RowAdamState state{.m = b.both_zero({s.rows, s.width}), .v = b.both_zero({s.rows, s.width})};
                   return
                       [=, &b] { row_update_adam_dense(b.stream, control, slots, grad, {.lr = 1e-3}, weight, state); };
                 }});
}

void add_engram_ops(std::vector<BenchOp>& ops, const ModelConfig& m) {
  const int64_t d = m.hidden;
  const auto saved = [](OpInputs& b) {
    return EngramGateSaved{.score = b.out_wide({b.tokens(), 1}),
                           .alpha = b.out_wide({b.tokens(), 1}),
                           .inv_rms_q = b.out_wide({b.tokens(), 1}),
                           .inv_rms_k = b.out_wide({b.tokens(), 1})};
  };
  ops.push_back({"engram_gate_forward", [=](OpInputs& b) -> Call {
                   const Tensor h = b.in({b.tokens(), 1, d}), kv = b.in({b.tokens(), 2 * d}), gain = b.in({1, d});
                   const Tensor gated = b.out({b.tokens(), 1, d});
                   const EngramGateSaved kept = saved(b);
                   return [=, &b] { engram_gate_forward(b.stream, h, kv, gain, gain, {}, {}, gated, kept); };
                 }});
  ops.push_back({"engram_gate_backward", [=](OpInputs& b) -> Call {
                   const Tensor h = b.in({b.tokens(), 1, d}), kv = b.in({b.tokens(), 2 * d}), gain = b.in({1, d});
                   const Tensor g = b.in({b.tokens(), 1, d});
                   const EngramGateSaved kept = saved(b);
                   const EngramGateGradients grads{.dh = b.out({b.tokens(), 1, d}),
                                                   .dkv = b.out({b.tokens(), 2 * d}),
                                                   .dgain_q = b.both_wide({1, d}),
                                                   .dgain_k = b.both_wide({1, d})};
                   engram_gate_forward(b.stream, h, kv, gain, gain, {}, {}, grads.dh, kept);
                   return [=, &b] { engram_gate_backward(b.stream, h, kv, gain, gain, {}, {}, kept, g, {}, grads); };
                 }});
  ops.push_back({"short_conv_forward", [=](OpInputs& b) -> Call {
                   const int64_t batch = b.config.train.micro_batch, seq = b.config.data.seq_len;
                   const Tensor v = b.in({batch, seq, d}), gain = b.in({1, d}), weight = b.in({d, kEngramConvTaps});
                   const Tensor y = b.out({batch, seq, d}), inv_rms = b.out_wide({batch, seq, 1});
                   const ShortConvOptions options{.dilation = 3};
                   return [=, &b] { short_conv_forward(b.stream, v, gain, weight, {}, options, y, inv_rms); };
                 }});
  ops.push_back({"short_conv_backward", [=](OpInputs& b) -> Call {
                   const int64_t batch = b.config.train.micro_batch, seq = b.config.data.seq_len;
                   const Tensor v = b.in({batch, seq, d}), gain = b.in({1, d}), weight = b.in({d, kEngramConvTaps});
                   const Tensor dy = b.in({batch, seq, d}), inv_rms = b.in_wide({batch, seq, 1});
                   const ShortConvGradients grads{.dv = b.out({batch, seq, d}),
                                                  .dgain = b.both_wide({1, d}),
                                                  .dweight = b.both_wide({d, kEngramConvTaps})};
                   const ShortConvOptions options{.dilation = 3};
                   return [=, &b] { short_conv_backward(b.stream, v, gain, weight, {}, options, inv_rms, dy, grads); };
                 }});
}

}  // namespace

std::vector<BenchOp> bench_op_table(const RunConfig& config) {
  const ModelConfig& m = config.model;
  const AttentionConfig& a = m.attention;
  std::vector<BenchOp> ops;
  add_linear(ops, "query, key and value", (a.num_heads + 2 * a.num_kv_heads) * a.head_dim, m.hidden);
  add_linear(ops, "attention out", m.hidden, a.num_heads * a.head_dim);
  if (m.has_dense_layers()) {
    add_linear(ops, "gate and up", 2 * m.ffn_hidden, m.hidden);
    add_linear(ops, "down", m.hidden, m.ffn_hidden);
  }
  add_linear(ops, "head", m.vocab_size, m.hidden);
  add_dense_ops(ops, m);
  add_attention_ops(ops, m);
  add_swiglu_ops(ops, m);
  if (m.moe.num_experts > 0) {
    add_router_ops(ops, m);
    add_weighted_swiglu_ops(ops, m);
    add_expert_product(ops, "gate and up", 2 * m.moe.expert_hidden, m.hidden);
    add_expert_product(ops, "down", m.hidden, m.moe.expert_hidden);
  }
  add_optimizer_ops(ops, m);
  if (m.engram.enabled()) {
    add_linear(ops, "memory", 2 * m.hidden, m.engram.memory_dim);
    add_row_ops(ops, m);
    add_engram_ops(ops, m);
  }
  return ops;
}

}  // namespace engram
