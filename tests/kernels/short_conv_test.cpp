#include "kernels/short_conv.h"

#include "tests/testing.h"

namespace engram {
namespace {

using test::relative_error;

struct ShortConvTest : test::CpuFixture {
  static constexpr int64_t kStreams = 2, kWidth = 5, kChannels = kStreams * kWidth, kTaps = 4;
  ShortConvOptions options{.dilation = 3, .eps = 1e-5};

  struct Case {
    Tensor v, gain, weight, starts, dy;
  };
  template <class T>
  Case make_case(int64_t batch, int64_t seq) {
    return {test::random_tensor<T>(arena, 1, {batch, seq, kChannels}),
            test::random_tensor<T>(arena, 2, {kStreams, kWidth}),
            test::random_tensor<T>(arena, 3, {kChannels, kTaps}),
            {},
            test::random_tensor<T>(arena, 4, {batch, seq, kChannels})};
  }
  // A start in the middle of every sequence.
  void add_starts(Case& c) {
    c.starts = test::constant_tensor<uint8_t>(arena, 0, {c.v.size(0), c.v.size(1)});
    for (int64_t batch = 0; batch < c.v.size(0) && c.v.size(1) > 0; ++batch) {
      host_span<uint8_t>(c.starts.rows(batch, 1))[static_cast<size_t>(c.v.size(1) / 2)] = 1;
    }
  }
  struct Outputs {
    Tensor y, inv_rms;
  };
  Outputs forward(const Case& c) {
    const Outputs out{arena.take("y", c.v.dtype, {c.v.size(0), c.v.size(1), kChannels}),
                      arena.take("inv_rms", c.v.dtype, {c.v.size(0), c.v.size(1), kStreams})};
    short_conv_forward(stream, c.v, c.gain, c.weight, c.starts, options, out.y, out.inv_rms);
    return out;
  }
  ShortConvGradients gradients(const Case& c) {
    const ShortConvGradients out{.dv = arena.take("dv", c.v.dtype, {c.v.size(0), c.v.size(1), kChannels}),
                                 .dgain = arena.take("dgain", c.v.dtype, {kStreams, kWidth}),
                                 .dweight = arena.take("dweight", c.v.dtype, {kChannels, kTaps})};
    zero(stream, out.dgain);
    zero(stream, out.dweight);
    return out;
  }
  void backward(const Case& c, const Tensor& inv_rms, const ShortConvGradients& out) {
    short_conv_backward(stream, c.v, c.gain, c.weight, c.starts, options, inv_rms, c.dy, out);
  }
};

TEST_F(ShortConvTest, ForwardMatchesTheFormula) {
  constexpr int64_t kSeq = 12;
  Case c = make_case<double>(1, kSeq);
  add_starts(c);
  const Tensor y = forward(c).y;
  const auto v = [&](int64_t t, int64_t channel) { return test::element(c.v, t * kChannels + channel); };
  const auto z = [&](int64_t t, int64_t channel) {
    double square = 0;
    for (int64_t i = 0; i < kWidth; ++i) square += std::pow(v(t, channel / kWidth * kWidth + i), 2) / kWidth;
    return v(t, channel) / std::sqrt(square + 1e-5) * test::element(c.gain, channel);
  };
  for (int64_t t = 0; t < kSeq; ++t) {
    for (int64_t channel = 0; channel < kChannels; ++channel) {
      double o = 0;
      for (int64_t j = 0; j < kTaps; ++j) {
        const int64_t at = t - 3 * (3 - j);
        if (at >= (t < 6 ? 0 : 6)) o += test::element(c.weight, channel * kTaps + j) * z(at, channel);
      }
      EXPECT_NEAR(test::element(y, t * kChannels + channel), v(t, channel) + o / (1 + std::exp(-o)), 1e-13);
    }
  }
}

TEST_F(ShortConvTest, BackwardMatchesCentralDifferences) {
  for (const auto& [batch, seq] : {std::pair{0, 3}, {2, 0}, {1, 1}, {2, 11}}) {
    for (const bool segments : {false, true}) {
      Case c = make_case<double>(batch, seq);
      if (segments) add_starts(c);
      const ShortConvGradients got = gradients(c);
      backward(c, forward(c).inv_rms, got);
      const auto loss = [&] {
        Arena::Scope scope(arena);
        return test::dot(c.dy, forward(c).y);
      };
      EXPECT_LT(relative_error(got.dv, test::numeric_gradient(arena, c.v, loss, 1e-4)), 1e-8);
      EXPECT_LT(relative_error(got.dgain, test::numeric_gradient(arena, c.gain, loss, 1e-4)), 1e-8);
      EXPECT_LT(relative_error(got.dweight, test::numeric_gradient(arena, c.weight, loss, 1e-4)), 1e-8);
    }
  }
}

TEST_F(ShortConvTest, SegmentsAreIndependentSequences) {
  Case c = make_case<float>(1, 12);
  add_starts(c);
  const Tensor whole = forward(c).y;
  for (const int64_t begin : {0, 6}) {
    Case part = c;
    part.v = c.v.reshape({12, kChannels}).rows(begin, 6).reshape({1, 6, kChannels});
    part.starts = {};
    EXPECT_TRUE(test::same_bits(forward(part).y, whole.reshape({12, kChannels}).rows(begin, 6)));
  }
}

TEST_F(ShortConvTest, ZeroWeightsAreTheIdentityAndStillLearn) {
  Case c = make_case<float>(2, 11);
  zero(stream, c.weight);
  const Outputs out = forward(c);
  EXPECT_TRUE(test::same_bits(out.y, c.v));
  const ShortConvGradients got = gradients(c);
  backward(c, out.inv_rms, got);
  EXPECT_GT(test::dot(got.dweight, got.dweight), 0);
  EXPECT_EQ(test::dot(got.dgain, got.dgain), 0);
}

TEST_F(ShortConvTest, BackwardTwiceAddsExactlyTwice) {
  const Case c = make_case<float>(2, 11);
  const ShortConvGradients got = gradients(c);
  const Tensor inv_rms = forward(c).inv_rms;
  backward(c, inv_rms, got);
  const Tensor dv = test::clone(arena, got.dv), dgain = test::clone(arena, got.dgain);
  const Tensor dweight = test::clone(arena, got.dweight);
  backward(c, inv_rms, got);
  EXPECT_TRUE(test::same_bits(got.dv, dv));
  for (int64_t i = 0; i < kChannels; ++i) EXPECT_EQ(test::element(got.dgain, i), 2 * test::element(dgain, i));
  for (int64_t i = 0; i < dweight.numel(); ++i) {
    EXPECT_EQ(test::element(got.dweight, i), 2 * test::element(dweight, i));
  }
}

TEST_F(ShortConvTest, FloatMatchesDouble) {
  const Case c = make_case<float>(2, 11);
  const Case wide{test::to_double(arena, c.v),
                  test::to_double(arena, c.gain),
                  test::to_double(arena, c.weight),
                  {},
                  test::to_double(arena, c.dy)};
  const Outputs out = forward(c), want = forward(wide);
  const ShortConvGradients got = gradients(c), exact = gradients(wide);
  backward(c, out.inv_rms, got);
  backward(wide, want.inv_rms, exact);
  EXPECT_LT(relative_error(out.y, want.y), 1e-6);
  EXPECT_LT(relative_error(got.dv, exact.dv), 1e-5);
  EXPECT_LT(relative_error(got.dgain, exact.dgain), 1e-5);
  EXPECT_LT(relative_error(got.dweight, exact.dweight), 1e-5);
}

TEST_F(ShortConvTest, RefusesWhatDoesNotFit) {
  Case c = make_case<float>(1, 3);
  options.dilation = 0;
  EXPECT_NE(test::error_of([&] { forward(c); }).find("dilation 0; wanted at least 1"), std::string::npos);
  c.weight = c.weight.reshape({kTaps, kChannels});
  const std::string message = test::error_of([&] { forward(c); });
  EXPECT_NE(message.find("weight: got float32 [4, 10], wanted float32 [10, -1]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
