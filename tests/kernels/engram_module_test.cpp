#include "kernels/cpu_gemm.h"
#include "kernels/engram_gate.h"
#include "kernels/ngram_hash.h"
#include "kernels/row_gather.h"
#include "kernels/row_segment_sum.h"
#include "kernels/short_conv.h"
#include "tests/golden.h"
#include "tests/kernels/row_segments_testing.h"

namespace engram {
namespace {

using nlohmann::json;

// Leaves of nested lists of numbers, in order.
void append_leaves(const json& list, std::vector<double>& leaves) {
  if (list.is_array()) {
    for (const json& item : list) append_leaves(item, leaves);
  } else {
    leaves.push_back(list.get<double>());
  }
}
std::vector<double> leaves_of(const json& list) {
  std::vector<double> leaves;
  append_leaves(list, leaves);
  return leaves;
}

// The whole Engram module from the ops: hash, rows, fused key and value projection, gate, convolution.
template <class T>
struct Module : test::CpuFixture {
  static constexpr double kBound = std::is_same_v<T, double> ? 1e-11 : 2e-5;
  json c;
  int64_t num_tokens = 0, streams = 0, width = 0, row_width = 0, columns = 0, memory = 0;
  bool has_bias = false, has_conv = false;
  EngramGateOptions gate;
  ShortConvOptions conv;
  Tensor ids, dead, conv_starts, h, dout, e, kv, gated, y;
  Tensor table, w_kv, b_kv, gain_q, gain_k, gain_c, conv_w;
  EngramGateSaved saved;
  Tensor inv_rms;

  Tensor take(std::initializer_list<int64_t> shape) { return arena.take("module", dtype_of<T>, shape); }
  Tensor zeros(std::initializer_list<int64_t> shape) { return test::constant_tensor(arena, T(0), shape); }
  Tensor load(std::initializer_list<const json*> lists, std::initializer_list<int64_t> shape) {
    std::vector<double> values;
    for (const json* list : lists) append_leaves(*list, values);
    return test::tensor_of<T>(arena, {values.begin(), values.end()}, shape);
  }

  void set_up(const json& golden_case) {
    c = golden_case;
    const json &config = c["config"], &p = c["params"];
    num_tokens = config["T"], streams = config["M"], width = config["d"], row_width = config["head_dim"];
    memory = config["d_mem"], columns = memory / row_width;
    has_bias = config["bias"], has_conv = config["conv"];
    gate.eps = config["eps_qk"];
    gate.sign = config["sign_mode"] == "sign" ? GateSign::kSign : GateSign::kCopySign;
    h = load({&c["h"]}, {num_tokens, streams, width});
    dout = load({&c["grad_out"]}, {num_tokens, streams, width});
    table = load({&p["table"]}, {config["rows"], row_width});
    w_kv = load({&p["w_k"], &p["w_v"]}, {(streams + 1) * width, memory});
    gain_q = load({&p["gain_q"]}, {streams, width});
    gain_k = load({&p["gain_k"]}, {streams, width});
    if (has_bias) b_kv = load({&p["b_k"], &p["b_v"]}, {(streams + 1) * width});
    if (c.contains("dead")) dead = test::tensor_of<uint8_t>(arena, c["dead"].get<std::vector<uint8_t>>(), {num_tokens});
    if (!has_conv) return;
    conv = {.dilation = config["dilation"], .eps = config["eps_conv"]};
    gain_c = load({&p["gain_c"]}, {streams, width});
    conv_w = load({&p["conv_w"]}, {streams * width, config["kernel"]});
    if (c.contains("conv_segment_start")) conv_starts = starts("conv_segment_start");
  }
  Tensor starts(const char* key) {
    std::vector<uint8_t> flags;
    for (size_t t = 0; t < c[key].size(); ++t) flags.push_back(c[key][t] == t);
    return test::tensor_of<uint8_t>(arena, flags, {1, num_tokens});
  }

  // Row ids from tokens, with drawn multipliers of layer 1 and a vocabulary of 7.
  void hash() {
    std::vector<int32_t> tokens = c["tokens_compressed"];
    for (size_t t = 0; t < tokens.size() && c.contains("dead"); ++t) {
      if (c["dead"][t] != 0) tokens[t] = kDeadToken;
    }
    std::vector<int64_t> primes, offsets;
    int64_t num_rows = 0;
    for (const double prime : leaves_of(c["config"]["primes"])) {
      primes.push_back(static_cast<int64_t>(prime));
      offsets.push_back(num_rows);
      num_rows += primes.back();
    }
    const std::vector<int64_t> multipliers{1084803951630661891, 68513285976946179, 509045121352709105};
    const NgramHashConstants constants{.heads = c["config"]["heads"],
                                       .pad_id = c["config"]["pad"],
                                       .multipliers = test::tensor_of<int64_t>(arena, multipliers, {3}),
                                       .primes = test::tensor_of<int64_t>(arena, primes, {columns}),
                                       .offsets = test::tensor_of<int64_t>(arena, offsets, {columns})};
    const Tensor segments = c.contains("segment_start") ? starts("segment_start") : Tensor{};
    ids = arena.take("ids", DType::kInt64, {num_tokens, columns});
    ngram_hash(stream, test::tensor_of<int32_t>(arena, tokens, {1, num_tokens}), segments, 0, constants, ids);
    EXPECT_TRUE(test::same_bits(ids, test::tensor_of<int64_t>(arena, flat_ids(), {num_tokens, columns})));
  }
  std::vector<int64_t> flat_ids() {
    std::vector<int64_t> flat;
    for (const double id : leaves_of(c["ids"])) flat.push_back(static_cast<int64_t>(id));
    return flat;
  }

  static const T* data(const Tensor& tensor) { return static_cast<const T*>(tensor.data); }
  static T* out(const Tensor& tensor) { return static_cast<T*>(tensor.data); }

  void forward() {
    const int64_t blocks = (streams + 1) * width;
    e = take({num_tokens, memory}), kv = take({num_tokens, blocks});
    row_gather(stream, table, ids.reshape({num_tokens * columns}), e.reshape({num_tokens * columns, row_width}));
    gemm(Gemm<T>{.m = num_tokens,
                 .n = blocks,
                 .k = memory,
                 .a = data(e),
                 .a_stride = memory,
                 .b = data(w_kv),
                 .b_stride = memory,
                 .c = out(kv),
                 .c_stride = blocks,
                 .transpose_b = true});
    if (has_bias) {
      for (int64_t i = 0; i < kv.numel(); ++i) out(kv)[i] += data(b_kv)[i % blocks];
    }
    gated = take({num_tokens, streams, width});
    saved = {.score = take({num_tokens, streams}),
             .alpha = take({num_tokens, streams}),
             .inv_rms_q = take({num_tokens, streams}),
             .inv_rms_k = take({num_tokens, streams})};
    engram_gate_forward(stream, h, kv, gain_q, gain_k, dead, gate, gated, saved);
    y = gated;
    if (!has_conv) return;
    y = take({num_tokens, streams, width}), inv_rms = take({1, num_tokens, streams});
    short_conv_forward(stream, as_sequence(gated), gain_c, conv_w, conv_starts, conv, as_sequence(y), inv_rms);
  }
  Tensor as_sequence(const Tensor& x) { return x.reshape({1, num_tokens, streams * width}); }

  // Gradient of what the gate gave.
  Tensor conv_backward() {
    if (!has_conv) return dout;
    const ShortConvGradients d{.dv = as_sequence(take({num_tokens, streams, width})),
                               .dgain = zeros({streams, width}),
                               .dweight = zeros({streams * width, conv_w.size(1)})};
    short_conv_backward(stream, as_sequence(gated), gain_c, conv_w, conv_starts, conv, inv_rms, as_sequence(dout), d);
    expect_near(d.dgain, {&c["grads"]["gain_c"]}, "gain_c");
    expect_near(d.dweight, {&c["grads"]["conv_w"]}, "conv_w");
    return d.dv.reshape({num_tokens, streams, width});
  }

  // Gradient of the fused keys and values, from that of what the gate gave.
  Tensor gate_backward(const Tensor& dgated) {
    const json& want = c["grads"];
    const EngramGateGradients d{.dh = take({num_tokens, streams, width}),
                                .dkv = take({num_tokens, (streams + 1) * width}),
                                .dgain_q = zeros({streams, width}),
                                .dgain_k = zeros({streams, width})};
    engram_gate_backward(stream, h, kv, gain_q, gain_k, dead, gate, saved, dgated, dout, d);
    for (int64_t t = 0; t < num_tokens && c.contains("dead"); ++t) {
      EXPECT_EQ(c["dead"][static_cast<size_t>(t)] != 0, test::same_bits(d.dh.rows(t, 1), dout.rows(t, 1)));
    }
    expect_near(d.dh, {&want["h"]}, "h");
    expect_near(d.dgain_q, {&want["gain_q"]}, "gain_q");
    expect_near(d.dgain_k, {&want["gain_k"]}, "gain_k");
    return d.dkv;
  }

  void backward() {
    const int64_t blocks = (streams + 1) * width;
    const Tensor dkv = gate_backward(conv_backward());
    const Tensor dw_kv = take({blocks, memory}), de = take({num_tokens, memory}),
                 dtable = zeros({table.size(0), row_width});
    gemm(Gemm<T>{.m = blocks,
                 .n = memory,
                 .k = num_tokens,
                 .a = data(dkv),
                 .a_stride = blocks,
                 .b = data(e),
                 .b_stride = memory,
                 .c = out(dw_kv),
                 .c_stride = memory,
                 .transpose_a = true});
    gemm(Gemm<T>{.m = num_tokens,
                 .n = memory,
                 .k = blocks,
                 .a = data(dkv),
                 .a_stride = blocks,
                 .b = data(w_kv),
                 .b_stride = memory,
                 .c = out(de),
                 .c_stride = memory});
    row_segment_sum(stream, de.reshape({num_tokens * columns, row_width}),
                    test::segments_of(arena, ids.reshape({num_tokens * columns}), table.size(0)), dtable);
    const json& want = c["grads"];
    expect_near(dw_kv, {&want["w_k"], &want["w_v"]}, "w_kv");
    expect_near(dtable, {&want["table"]}, "table");
    expect_near(de, {&c["backward_intermediates"]["d_e"]}, "e");
    if (!has_bias) return;
    const Tensor db_kv = zeros({blocks});
    for (int64_t i = 0; i < dkv.numel(); ++i) out(db_kv)[i % blocks] += data(dkv)[i];
    expect_near(db_kv, {&want["b_k"], &want["b_v"]}, "b_kv");
  }

  // |got - want| <= bound * max|want|, in double with a floor of 1 under the maximum.
  void expect_near(const Tensor& got, std::initializer_list<const json*> lists, const char* what) {
    std::vector<double> want;
    for (const json* list : lists) append_leaves(*list, want);
    ASSERT_EQ(got.numel(), std::ssize(want)) << what;
    double largest = std::is_same_v<T, double> ? 1.0 : 0.0;
    for (const double value : want) largest = std::max(largest, std::abs(value));
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_NEAR(test::element(got, static_cast<int64_t>(i)), want[i], kBound * largest) << what << " " << i;
    }
  }

  void expect_forward() {
    const json& want = c["forward"];
    expect_near(e, {&want["e"]}, "e");
    json score = want["s"];
    for (size_t t = 0; t < score.size() && c.contains("dead"); ++t) {
      for (json& s : score[t]) s = c["dead"][t] == 0 ? s : json(0.0);  // the op does not score a dead row
    }
    expect_near(saved.score, {&score}, "s");
    expect_near(saved.alpha, {&want["alpha"]}, "alpha");
    expect_near(gated, {&want["v_tilde"]}, "v_tilde");
    expect_near(y, {&want["y"]}, "y");
    double loss = 0;
    for (int64_t i = 0; i < y.numel(); ++i)
      loss += test::element(dout, i) * (test::element(h, i) + test::element(y, i));
    EXPECT_NEAR(loss, c["loss"].get<double>(), kBound * std::max(1.0, std::abs(c["loss"].get<double>())));
  }
};

template <class T>
struct EngramModuleTest : Module<T> {};
using Precisions = ::testing::Types<double, float>;
TYPED_TEST_SUITE(EngramModuleTest, Precisions);

TYPED_TEST(EngramModuleTest, EveryGoldenCaseMatches) {
  const json golden = test::golden("gate_and_conv.json");
  ASSERT_EQ(golden["cases"].size(), 7u);
  for (const json& golden_case : golden["cases"]) {
    SCOPED_TRACE(golden_case["name"]);
    this->dead = this->conv_starts = Tensor{};
    this->set_up(golden_case);
    this->hash();
    this->forward();
    this->expect_forward();
    this->backward();
  }
}

}  // namespace
}  // namespace engram
