#include "kernels/short_conv.h"

#include "tests/gpu_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct ShortConvGpuTest : test::GpuFixture {
  struct Case {
    int64_t batch, seq, streams, width, taps;
    bool with_starts;
  };
  static constexpr ShortConvOptions kOptions{.dilation = 3, .eps = 1e-5};

  Tensor starts_of(const Case& c) {
    const Tensor starts = test::constant_tensor<uint8_t>(host, 0, {c.batch, c.seq});
    for (int64_t i = 0; i < starts.numel(); ++i) {
      static_cast<uint8_t*>(starts.data)[i] = philox(9, static_cast<uint64_t>(i), 0).word[0] % 8 == 0;
    }
    return starts;
  }
  static double conv_bound(DType dtype) { return 4 * bound(dtype); }

  void compare(DType dtype, const Case& c) {
    Arena::Scope host_scope(host), device_scope(*device);
    const DType wide = accumulator(dtype);
    const int64_t channels = c.streams * c.width;
    const auto random = [&](uint64_t seed, std::initializer_list<int64_t> shape) {
      return rounded(test::random_tensor<double>(host, seed, shape), dtype);
    };
    const auto take = [&](std::initializer_list<int64_t> shape) { return host.take("want", DType::kFloat64, shape); };
    const Tensor v = random(1, {c.batch, c.seq, channels}), dy = random(4, {c.batch, c.seq, channels});
    const Tensor gain = random(2, {c.streams, c.width}), weight = random(3, {channels, c.taps});
    const Tensor starts = c.with_starts ? starts_of(c) : Tensor();
    const Tensor want_y = take({c.batch, c.seq, channels}), want_inv_rms = take({c.batch, c.seq, c.streams});
    short_conv_forward(cpu, v, gain, weight, starts, kOptions, want_y, want_inv_rms);

    const Tensor device_v = upload(v, dtype), device_gain = upload(gain, dtype), device_weight = upload(weight, dtype);
    const Tensor device_starts = c.with_starts ? to_device(starts) : Tensor();
    const Tensor y = poisoned(dtype, {c.batch, c.seq, channels});
    const Tensor inv_rms = poisoned(wide, {c.batch, c.seq, c.streams});
    short_conv_forward(stream, device_v, device_gain, device_weight, device_starts, kOptions, y, inv_rms);
    EXPECT_LT(relative_error(download(y), want_y), conv_bound(dtype));
    EXPECT_LT(relative_error(download(inv_rms), want_inv_rms), bound(dtype));

    const ShortConvGradients want{.dv = take({c.batch, c.seq, channels}),
                                  .dgain = test::constant_tensor(host, 0.5, {c.streams, c.width}),
                                  .dweight = test::constant_tensor(host, 0.5, {channels, c.taps})};
    const ShortConvGradients got{.dv = poisoned(dtype, {c.batch, c.seq, channels}),
                                 .dgain = upload(want.dgain, wide),
                                 .dweight = upload(want.dweight, wide)};
    short_conv_backward(cpu, v, gain, weight, starts, kOptions, download(inv_rms), dy, want);
    short_conv_backward(stream, device_v, device_gain, device_weight, device_starts, kOptions, inv_rms,
                        upload(dy, dtype), got);
    EXPECT_LT(relative_error(download(got.dv), want.dv), conv_bound(dtype));
    EXPECT_LT(relative_error(download(got.dgain), want.dgain), conv_bound(dtype));
    EXPECT_LT(relative_error(download(got.dweight), want.dweight), conv_bound(dtype));

    const ShortConvGradients again{.dv = poisoned(dtype, {c.batch, c.seq, channels}),
                                   .dgain = upload(test::constant_tensor(host, 0.5, {c.streams, c.width}), wide),
                                   .dweight = upload(test::constant_tensor(host, 0.5, {channels, c.taps}), wide)};
    short_conv_backward(stream, device_v, device_gain, device_weight, device_starts, kOptions, inv_rms,
                        upload(dy, dtype), again);
    EXPECT_TRUE(test::same_bits(to_host(again.dv), to_host(got.dv)));
    EXPECT_TRUE(test::same_bits(to_host(again.dgain), to_host(got.dgain)));
    EXPECT_TRUE(test::same_bits(to_host(again.dweight), to_host(got.dweight)));
  }
};

TEST_F(ShortConvGpuTest, MatchesTheDoubleFormAndItself) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    for (const bool with_starts : {false, true}) {
      compare(dtype, {0, 5, 1, 7, 4, with_starts});
      compare(dtype, {2, 0, 1, 7, 4, with_starts});
      compare(dtype, {1, 1, 1, 3, 4, with_starts});
      compare(dtype, {3, 41, 4, 37, 4, with_starts});
      compare(dtype, {2, 70, 1, 131, 1, with_starts});
      compare(dtype, {1, 130, 2, 64, 3, with_starts});
      for (const int64_t seq : {1, 2, 3, 10, 11, 12, 13, 300}) compare(dtype, {2, seq, 1, 200, 4, with_starts});
      compare(dtype, {5, 61, 1, 1032, 4, with_starts});
    }
  }
}

}  // namespace
}  // namespace engram
