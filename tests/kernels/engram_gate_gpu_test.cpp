#include "kernels/engram_gate.h"

#include "tests/gpu_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct EngramGateGpuTest : test::GpuFixture {
  struct Case {
    int64_t num_rows, streams, width;
    bool with_dead, with_past;
  };
  // Inputs and outputs of both forms; device tensors or doubles on the host.
  struct Side {
    Tensor h, kv, gain_q, gain_k, dead, dgated, dpast, gated;
    EngramGateSaved saved;
    EngramGateGradients gradients;
  };

  // The score is a sum that cancels, and near 0 the slope of its signed square root has no bound.
  static double score_bound(DType dtype) { return dtype == DType::kBFloat16 ? bound(dtype) : 20 * bound(dtype); }

  void compare(DType dtype, const Case& c, const EngramGateOptions& options) {
    Arena::Scope host_scope(host), device_scope(*device);
    Side want = host_side(dtype, c);
    const Side got = device_side(dtype, c, want);
    engram_gate_forward(stream, got.h, got.kv, got.gain_q, got.gain_k, got.dead, options, got.gated, got.saved);
    engram_gate_forward(cpu, want.h, want.kv, want.gain_q, want.gain_k, want.dead, options, want.gated, want.saved);
    EXPECT_LT(relative_error(download(got.gated), want.gated), score_bound(dtype));
    EXPECT_LT(relative_error(download(got.saved.score), want.saved.score), score_bound(dtype));
    EXPECT_LT(relative_error(download(got.saved.alpha), want.saved.alpha), score_bound(dtype));
    EXPECT_LT(relative_error(download(got.saved.inv_rms_q), want.saved.inv_rms_q), bound(dtype));
    EXPECT_LT(relative_error(download(got.saved.inv_rms_k), want.saved.inv_rms_k), bound(dtype));

    want.saved = {.score = download(got.saved.score),
                  .alpha = download(got.saved.alpha),
                  .inv_rms_q = download(got.saved.inv_rms_q),
                  .inv_rms_k = download(got.saved.inv_rms_k)};
    engram_gate_backward(stream, got.h, got.kv, got.gain_q, got.gain_k, got.dead, options, got.saved, got.dgated,
                         got.dpast, got.gradients);
    engram_gate_backward(cpu, want.h, want.kv, want.gain_q, want.gain_k, want.dead, options, want.saved, want.dgated,
                         want.dpast, want.gradients);
    EXPECT_LT(relative_error(download(got.gradients.dh), want.gradients.dh), score_bound(dtype));
    EXPECT_LT(relative_error(download(got.gradients.dkv), want.gradients.dkv), score_bound(dtype));
    EXPECT_LT(relative_error(download(got.gradients.dgain_q), want.gradients.dgain_q), score_bound(dtype));
    EXPECT_LT(relative_error(download(got.gradients.dgain_k), want.gradients.dgain_k), score_bound(dtype));
  }

  Tensor doubles(std::initializer_list<int64_t> shape) { return host.take("want", DType::kFloat64, shape); }

  Side host_side(DType dtype, const Case& c) {
    const auto random = [&](uint64_t seed, std::initializer_list<int64_t> shape) {
      return rounded(test::random_tensor<double>(host, seed, shape), dtype);
    };
    const int64_t n = c.num_rows, streams = c.streams, width = c.width;
    Side side{.h = random(1, {n, streams, width}),
              .kv = random(2, {n, (streams + 1) * width}),
              .gain_q = random(3, {streams, width}),
              .gain_k = random(4, {streams, width}),
              .dead = {},
              .dgated = random(5, {n, streams, width}),
              .dpast = c.with_past ? random(6, {n, streams, width}) : Tensor(),
              .gated = doubles({n, streams, width}),
              .saved = {.score = doubles({n, streams}),
                        .alpha = doubles({n, streams}),
                        .inv_rms_q = doubles({n, streams}),
                        .inv_rms_k = doubles({n, streams})},
              .gradients = {.dh = doubles({n, streams, width}),
                            .dkv = doubles({n, (streams + 1) * width}),
                            .dgain_q = test::constant_tensor(host, 0.5, {streams, width}),
                            .dgain_k = test::constant_tensor(host, 0.5, {streams, width})}};
    if (!c.with_dead) return side;
    side.dead = test::constant_tensor<uint8_t>(host, 0, {n});
    for (int64_t row = 0; row < n; row += 3) {
      host_span<uint8_t>(side.dead)[static_cast<size_t>(row)] = 1;
      for (int64_t i = 0; i < side.kv.size(1); ++i) test::set_element(side.kv.rows(row, 1), i, NAN);  // is not read
    }
    return side;
  }

  // The same inputs on the device, and poisoned outputs.
  Side device_side(DType dtype, const Case& c, const Side& from) {
    const DType wide = accumulator(dtype);
    const int64_t n = c.num_rows, streams = c.streams, width = c.width;
    return {.h = upload(from.h, dtype),
            .kv = upload(from.kv, dtype),
            .gain_q = upload(from.gain_q, dtype),
            .gain_k = upload(from.gain_k, dtype),
            .dead = c.with_dead ? to_device(from.dead) : Tensor(),
            .dgated = upload(from.dgated, dtype),
            .dpast = c.with_past ? upload(from.dpast, dtype) : Tensor(),
            .gated = poisoned(dtype, {n, streams, width}),
            .saved = {.score = poisoned(wide, {n, streams}),
                      .alpha = poisoned(wide, {n, streams}),
                      .inv_rms_q = poisoned(wide, {n, streams}),
                      .inv_rms_k = poisoned(wide, {n, streams})},
            .gradients = {.dh = poisoned(dtype, {n, streams, width}),
                          .dkv = poisoned(dtype, {n, (streams + 1) * width}),
                          .dgain_q = upload(from.gradients.dgain_q, wide),
                          .dgain_k = upload(from.gradients.dgain_k, wide)}};
  }
};

TEST_F(EngramGateGpuTest, MatchesTheDoubleForm) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    for (const GateForm form : {GateForm::kPlain, GateForm::kSignedSqrt}) {
      for (const int64_t num_rows : {0, 1, 7, 130}) {
        for (const int64_t streams : {1, 4}) {
          const bool odd = num_rows == 7;
          for (const int64_t width : {5, 131, 640}) {
            compare(dtype, {num_rows, streams, width, odd, !odd}, {.form = form, .sign = GateSign::kSign, .eps = 1e-6});
          }
        }
      }
    }
  }
}

TEST_F(EngramGateGpuTest, MatchesTheDoubleFormWhereRowsStayInRegisters) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t width : {256, 512, 1024, 2048}) compare(dtype, {50, 1, width, true, true}, {});
    compare(dtype, {3001, 1, 64, true, false}, {});  // more rows than warps
  }
}

TEST_F(EngramGateGpuTest, GradientsMayOverwriteWhatTheyComeFromAndDeadRowsPassThemOn) {
  for (const auto& [dtype, c] : std::vector<std::pair<DType, Case>>{{DType::kFloat32, {10, 2, 67, true, true}},
                                                                    {DType::kBFloat16, {10, 2, 67, true, true}},
                                                                    {DType::kBFloat16, {10, 1, 64, true, true}}}) {
    const Side on_host = host_side(dtype, c), s = device_side(dtype, c, on_host);
    engram_gate_forward(stream, s.h, s.kv, s.gain_q, s.gain_k, s.dead, {}, s.gated, s.saved);
    engram_gate_backward(stream, s.h, s.kv, s.gain_q, s.gain_k, s.dead, {}, s.saved, s.dgated, s.dpast, s.gradients);
    for (const bool over_past : {false, true}) {
      Side other = device_side(dtype, c, on_host);
      other.gradients.dh = over_past ? other.dpast : other.dgated;
      engram_gate_backward(stream, s.h, s.kv, s.gain_q, s.gain_k, s.dead, {}, s.saved, other.dgated, other.dpast,
                           other.gradients);
      EXPECT_TRUE(test::same_bits(to_host(other.gradients.dh), to_host(s.gradients.dh)));
      EXPECT_TRUE(test::same_bits(to_host(other.gradients.dkv), to_host(s.gradients.dkv)));
      EXPECT_TRUE(test::same_bits(to_host(other.gradients.dgain_q), to_host(s.gradients.dgain_q)));  // twice the same
    }
    EXPECT_TRUE(test::same_bits(to_host(s.gradients.dh.rows(9, 1)), to_host(s.dpast.rows(9, 1))));
  }
}

}  // namespace
}  // namespace engram
