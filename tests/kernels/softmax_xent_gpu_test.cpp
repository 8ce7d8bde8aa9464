#include "kernels/softmax_xent.h"
#include "tests/gpu_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct SoftmaxXentGpuTest : test::GpuFixture {
  void compare(DType dtype, int64_t num_rows, int64_t vocabulary) {
    Arena::Scope host_scope(host), device_scope(*device);
    const DType wide = accumulator(dtype);
    const Tensor logits = test::random_tensor<double>(host, 1, {num_rows, vocabulary}, 3.0);
    const Tensor targets = host.take("targets", DType::kInt32, {num_rows});
    for (int64_t i = 0; i < num_rows; ++i) {
      host_span<int32_t>(targets)[static_cast<size_t>(i)] =
          static_cast<int32_t>(i % 3 == 2 ? -1 : i * 977 % vocabulary);
    }
    const Tensor device_logits = upload(logits, dtype), device_targets = to_device(targets);
    const Tensor loss = poisoned(wide, {num_rows}), dlogits = poisoned(dtype, {num_rows, vocabulary});
    const Tensor want_loss = host.take("loss", DType::kFloat64, {num_rows});
    const Tensor want = host.take("dlogits", DType::kFloat64, {num_rows, vocabulary});
    softmax_xent(stream, device_logits, device_targets, 0.125, loss, dlogits);
    softmax_xent(cpu, rounded(logits, dtype), targets, 0.125, want_loss, want);
    // A vocabulary of one has loss 0 and gradient 0, up to rounding.
    EXPECT_LT(relative_error(download(loss), want_loss), bound(wide));
    EXPECT_LT(relative_error(download(dlogits), want), bound(dtype));

    const Tensor loss_alone = poisoned(wide, {num_rows});
    softmax_xent(stream, device_logits, device_targets, 0.125, loss_alone, {});
    EXPECT_TRUE(test::same_bits(download(loss_alone), download(loss)));
    softmax_xent(stream, device_logits, device_targets, 0.125, loss, device_logits);  // in place
    EXPECT_TRUE(test::same_bits(download(device_logits), download(dlogits)));
  }
};

TEST_F(SoftmaxXentGpuTest, MatchesTheDoubleForm) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t num_rows : {0, 1, 8}) {
      for (const int64_t vocabulary : {1, 511, 513, 1024, 16384, 32768, 32769, 40000})
        compare(dtype, num_rows, vocabulary);
    }
  }
}

// Nearly all threads see nothing but -infinity, or numbers far below the largest.
TEST_F(SoftmaxXentGpuTest, LogitsMayLieFarApart) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t vocabulary : {700, 16384, 40000}) {
      Arena::Scope host_scope(host), device_scope(*device);
      const DType wide = accumulator(dtype);
      const Tensor logits = test::random_tensor<double>(host, 1, {2, vocabulary}, 3.0);
      for (int64_t c = 0; c < vocabulary; ++c) {
        if (c % 500 > 1) test::set_element(logits, c, -INFINITY);
      }
      test::set_element(logits, vocabulary + 3, 80);
      const Tensor targets = test::tensor_of<int32_t>(host, {501, 500}, {2});
      const Tensor loss = poisoned(wide, {2}), dlogits = poisoned(dtype, {2, vocabulary});
      const Tensor want_loss = host.take("loss", DType::kFloat64, {2});
      const Tensor want = host.take("dlogits", DType::kFloat64, {2, vocabulary});
      softmax_xent(stream, upload(logits, dtype), to_device(targets), 0.125, loss, dlogits);
      softmax_xent(cpu, rounded(logits, dtype), targets, 0.125, want_loss, want);
      EXPECT_LT(relative_error(download(loss), want_loss), bound(wide)) << vocabulary;
      EXPECT_LT(relative_error(download(dlogits), want), bound(dtype)) << vocabulary;
    }
  }
}

TEST_F(SoftmaxXentGpuTest, NotANumberReachesTheLoss) {
  const Tensor logits = test::random_tensor<double>(host, 1, {1, 700});
  test::set_element(logits, 600, NAN);
  const Tensor targets = test::tensor_of<int32_t>(host, {3}, {1}), loss = poisoned(DType::kFloat32, {1});
  softmax_xent(stream, upload(logits, DType::kBFloat16), to_device(targets), 1.0, loss, {});
  EXPECT_TRUE(std::isnan(test::element(download(loss), 0)));
}

}  // namespace
}  // namespace engram
