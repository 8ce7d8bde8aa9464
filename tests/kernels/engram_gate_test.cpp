#include "kernels/engram_gate.h"

#include "kernels/engram_gate_impl.h"
#include "tests/golden.h"
#include "tests/testing.h"

namespace engram {
namespace {

using test::relative_error;

struct EngramGateTest : test::CpuFixture {
  static constexpr int64_t kWidth = 13;
  EngramGateOptions options;

  struct Case {
    Tensor h, kv, gain_q, gain_k, dead, dgated, dpast;
  };
  template <class T>
  Case make_case(int64_t num_rows, int64_t streams, uint64_t seed = 1) {
    return {test::random_tensor<T>(arena, seed, {num_rows, streams, kWidth}),
            test::random_tensor<T>(arena, seed + 1, {num_rows, (streams + 1) * kWidth}),
            test::random_tensor<T>(arena, seed + 2, {streams, kWidth}),
            test::random_tensor<T>(arena, seed + 3, {streams, kWidth}),
            {},
            test::random_tensor<T>(arena, seed + 4, {num_rows, streams, kWidth}),
            test::random_tensor<T>(arena, seed + 5, {num_rows, streams, kWidth})};
  }
  Case to_double(const Case& c) {
    return {test::to_double(arena, c.h),
            test::to_double(arena, c.kv),
            test::to_double(arena, c.gain_q),
            test::to_double(arena, c.gain_k),
            c.dead,
            test::to_double(arena, c.dgated),
            test::to_double(arena, c.dpast)};
  }

  struct Outputs {
    Tensor gated;
    EngramGateSaved saved;
  };
  Outputs forward(const Case& c) {
    const int64_t num_rows = c.h.size(0), streams = c.h.size(1);
    const auto scalars = [&] { return arena.take("saved", c.h.dtype, {num_rows, streams}); };
    const Outputs out{arena.take("gated", c.h.dtype, {num_rows, streams, c.h.size(2)}),
                      {.score = scalars(), .alpha = scalars(), .inv_rms_q = scalars(), .inv_rms_k = scalars()}};
    engram_gate_forward(stream, c.h, c.kv, c.gain_q, c.gain_k, c.dead, options, out.gated, out.saved);
    return out;
  }
  EngramGateGradients gradients(const Case& c) {
    const auto zeros = [&] {
      const Tensor tensor = arena.take("dgain", c.h.dtype, {c.h.size(1), c.h.size(2)});
      zero(stream, tensor);
      return tensor;
    };
    return {.dh = arena.take("dh", c.h.dtype, {c.h.size(0), c.h.size(1), c.h.size(2)}),
            .dkv = arena.take("dkv", c.h.dtype, {c.kv.size(0), c.kv.size(1)}),
            .dgain_q = zeros(),
            .dgain_k = zeros()};
  }
  void backward(const Case& c, const EngramGateSaved& saved, const EngramGateGradients& out) {
    engram_gate_backward(stream, c.h, c.kv, c.gain_q, c.gain_k, c.dead, options, saved, c.dgated, c.dpast, out);
  }
  void expect_numeric_gradients(const Case& c) {
    const Outputs out = forward(c);
    for (const double score : host_span<double>(out.saved.score)) {
      EXPECT_TRUE(score == 0 || std::abs(score) > 1e-2) << "take another seed";
    }
    const EngramGateGradients got = gradients(c);
    backward(c, out.saved, got);
    const auto loss = [&] {
      Arena::Scope scope(arena);
      return test::dot(c.dgated, forward(c).gated) + test::dot(c.dpast, c.h);
    };
    constexpr double kStep = 1e-4;
    EXPECT_LT(relative_error(got.dh, test::numeric_gradient(arena, c.h, loss, kStep)), 1e-8);
    EXPECT_LT(relative_error(got.dkv, test::numeric_gradient(arena, c.kv, loss, kStep)), 1e-8);
    EXPECT_LT(relative_error(got.dgain_q, test::numeric_gradient(arena, c.gain_q, loss, kStep)), 1e-8);
    EXPECT_LT(relative_error(got.dgain_k, test::numeric_gradient(arena, c.gain_k, loss, kStep)), 1e-8);
  }
};

TEST_F(EngramGateTest, ScalarsMatchTheGoldenVectorsInBothSignConventions) {
  const auto golden = test::golden("gate_and_conv.json");
  ASSERT_EQ(golden["gate_scalar"].size(), 18u);
  for (const auto& want : golden["gate_scalar"]) {
    const double s = std::stod(want["s"].get<std::string>());
    for (const auto sign : {GateSign::kSign, GateSign::kCopySign}) {
      const auto& row = want[sign == GateSign::kSign ? "sign" : "copysign"];
      const double u = gate_argument(s, GateForm::kSignedSqrt, sign), alpha = 1 / (1 + std::exp(-u));
      EXPECT_DOUBLE_EQ(u, row["u"].get<double>()) << s;
      EXPECT_DOUBLE_EQ(alpha, row["alpha"].get<double>()) << s;
      EXPECT_NEAR(alpha * (1 - alpha) * gate_slope(s, GateForm::kSignedSqrt), row["dalpha_ds"], 1e-13) << s;

      // The whole op: with one column and ones for h and key, the score is gain_q.
      if (s == 0 && std::signbit(s)) continue;  // a sum never gives -0
      options = {.form = GateForm::kSignedSqrt, .sign = sign, .eps = 0};
      const Tensor one = test::constant_tensor(arena, 1.0, {1, 1});
      const Case c{one.reshape({1, 1, 1}),
                   test::constant_tensor(arena, 1.0, {1, 2}),
                   test::constant_tensor(arena, s, {1, 1}),
                   one,
                   {},
                   one.reshape({1, 1, 1}),
                   {}};
      const Outputs out = forward(c);
      EXPECT_EQ(test::element(out.saved.score, 0), s);
      EXPECT_DOUBLE_EQ(test::element(out.gated, 0), row["alpha"].get<double>()) << s;
      const EngramGateGradients got = gradients(c);
      backward(c, out.saved, got);
      EXPECT_NEAR(test::element(got.dgain_q, 0), row["dalpha_ds"], 1e-13) << s;
    }
  }
}

TEST_F(EngramGateTest, BackwardMatchesCentralDifferences) {
  for (const GateForm form : {GateForm::kSignedSqrt, GateForm::kPlain}) {
    options.form = form;
    for (const auto& [num_rows, streams] : {std::pair{0, 1}, {1, 1}, {5, 1}, {3, 4}}) {
      expect_numeric_gradients(make_case<double>(num_rows, streams, 40));
    }
  }
}

TEST_F(EngramGateTest, DeadRowsPassTheStreamThroughAndReadNoRows) {
  Case c = make_case<double>(3, 2, 40);
  c.dead = test::tensor_of<uint8_t>(arena, {0, 1, 0}, {3});
  for (double& x : host_span<double>(c.kv.rows(1, 1))) x = 0;
  expect_numeric_gradients(c);
  for (double& x : host_span<double>(c.kv.rows(1, 1))) x = NAN;
  const Outputs out = forward(c);
  const EngramGateGradients got = gradients(c);
  backward(c, out.saved, got);
  for (const double x : host_span<double>(out.gated.rows(1, 1))) EXPECT_EQ(x, 0);
  for (const double x : host_span<double>(got.dkv.rows(1, 1))) EXPECT_EQ(x, 0);
  EXPECT_TRUE(test::same_bits(got.dh.rows(1, 1), c.dpast.rows(1, 1)));
  EXPECT_FALSE(std::isnan(test::dot(got.dgain_k, got.dgain_q)));
}

TEST_F(EngramGateTest, ZeroKeysGiveHalfAGateAndNoGradientToKeys) {
  options.eps = 1e-20;
  Case c = make_case<float>(2, 1);
  c.kv = test::constant_tensor(arena, 0.0f, {2, 2 * kWidth});
  const Outputs out = forward(c);
  const EngramGateGradients got = gradients(c);
  backward(c, out.saved, got);
  for (const float alpha : host_span<float>(out.saved.alpha)) EXPECT_EQ(alpha, 0.5f);
  for (const float x : host_span<float>(got.dgain_q)) EXPECT_EQ(x, 0.0f);
  for (int64_t i = 0; i < kWidth; ++i) {
    EXPECT_EQ(test::element(got.dkv, i), 0);
    EXPECT_EQ(test::element(got.dkv, kWidth + i), 0.5 * test::element(c.dgated, i));
  }
}

TEST_F(EngramGateTest, BackwardTwiceAddsExactlyTwiceAndMayOverwriteItsInput) {
  const Case c = make_case<float>(7, 2);
  const Outputs out = forward(c);
  const EngramGateGradients first = gradients(c);
  backward(c, out.saved, first);
  EngramGateGradients second = first;
  second.dh = c.dgated;
  const Tensor dh = test::clone(arena, first.dh), dkv = test::clone(arena, first.dkv);
  const Tensor once_q = test::clone(arena, first.dgain_q), once_k = test::clone(arena, first.dgain_k);
  backward(c, out.saved, second);
  EXPECT_TRUE(test::same_bits(second.dh, dh));
  EXPECT_TRUE(test::same_bits(second.dkv, dkv));
  for (int64_t i = 0; i < 2 * kWidth; ++i) {
    EXPECT_EQ(test::element(second.dgain_q, i), 2 * test::element(once_q, i));
    EXPECT_EQ(test::element(second.dgain_k, i), 2 * test::element(once_k, i));
  }
}

TEST_F(EngramGateTest, FloatMatchesDouble) {
  const Case c = make_case<float>(7, 4), wide = to_double(c);
  const Outputs out = forward(c), want = forward(wide);
  EXPECT_LT(relative_error(out.gated, want.gated), 1e-5);
  const EngramGateGradients got = gradients(c), exact = gradients(wide);
  backward(c, out.saved, got);
  backward(wide, want.saved, exact);
  EXPECT_LT(relative_error(got.dh, exact.dh), 1e-5);
  EXPECT_LT(relative_error(got.dkv, exact.dkv), 1e-5);
  EXPECT_LT(relative_error(got.dgain_q, exact.dgain_q), 1e-5);
  EXPECT_LT(relative_error(got.dgain_k, exact.dgain_k), 1e-5);
}

TEST_F(EngramGateTest, RefusesTensorsThatDoNotFit) {
  Case c = make_case<float>(7, 2);
  c.kv = c.kv.rows(0, 7).reshape({21, kWidth});
  const std::string message = test::error_of([&] { forward(c); });
  EXPECT_NE(message.find("kv: got float32 [21, 13], wanted float32 [7, 39]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
