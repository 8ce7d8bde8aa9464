#include "kernels/embedding.h"
#include "tests/gpu_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct EmbeddingGpuTest : test::GpuFixture {
  // Ids in [0, num_rows), small ones far more often, as in text.
  Tensor random_tokens(int64_t count, int64_t num_rows) {
    const Tensor tokens = host.take("tokens", DType::kInt32, {count});
    auto ids = host_span<int32_t>(tokens);
    for (size_t i = 0; i < ids.size(); ++i) {
      const double u = uniform(philox(5, i, 0).word[0]);
      ids[i] = static_cast<int32_t>(u * u * u * static_cast<double>(num_rows));
    }
    return tokens;
  }

  void compare(DType dtype, int64_t count, int64_t num_rows, int64_t width) {
    Arena::Scope host_scope(host), device_scope(*device);
    const Tensor tokens = random_tokens(count, num_rows), device_tokens = to_device(tokens);
    const Tensor table = test::random_tensor<double>(host, 1, {num_rows, width});
    const Tensor y = poisoned(dtype, {count, width}), want = host.take("want", DType::kFloat64, {count, width});
    embedding_forward(stream, device_tokens, upload(table, dtype), y);
    embedding_forward(cpu, tokens, rounded(table, dtype), want);
    EXPECT_TRUE(test::same_bits(download(y), want));

    const Tensor dy = test::random_tensor<double>(host, 2, {count, width});
    const DType wide = accumulator(dtype);
    const Tensor dtable = upload(table, wide), want_dtable = rounded(table, wide);
    embedding_backward(stream, device_tokens, upload(dy, dtype), dtable);
    embedding_backward(cpu, tokens, rounded(dy, dtype), want_dtable);
    // Thousands of gradients are added to one row, one after the other.
    EXPECT_LT(relative_error(download(dtable), want_dtable), 10 * bound(wide));
  }
};

TEST_F(EmbeddingGpuTest, MatchesTheDoubleForm) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t count : {0, 1, 77, 4099}) {
      for (const int64_t num_rows : {1, 300}) {
        for (const int64_t width : {1, 131, 1032}) compare(dtype, count, num_rows, width);
      }
    }
  }
}

TEST_F(EmbeddingGpuTest, TwoRunsGiveTheSameBits) {
  const Tensor tokens = to_device(random_tokens(5000, 70));
  const Tensor dy = to_device(test::random_tensor<float>(host, 1, {5000, 36}));
  Tensor sums[2];
  for (Tensor& dtable : sums) {
    dtable = to_device(test::constant_tensor(host, 0.0f, {70, 36}));
    embedding_backward(stream, tokens, dy, dtable);
  }
  EXPECT_TRUE(test::same_bits(to_host(sums[0]), to_host(sums[1])));
}

TEST_F(EmbeddingGpuTest, RunsOfOneTokenMayEndAnywhere) {
  for (const int64_t count : {63, 64, 65, 128, 129, 300}) {
    for (const int64_t others : {0, 1, 63, 64, 65, 190}) {  // tokens before the run, each of its own kind
      if (others > count) continue;
      Arena::Scope host_scope(host), device_scope(*device);
      const Tensor tokens = host.take("tokens", DType::kInt32, {count});
      for (int64_t i = 0; i < count; ++i) {
        host_span<int32_t>(tokens)[static_cast<size_t>(i)] = static_cast<int32_t>(std::min(i, others));
      }
      const Tensor dy = test::random_tensor<double>(host, 1, {count, 3});
      const Tensor want = test::constant_tensor(host, 0.5, {200, 3}), got = to_device(want);
      embedding_backward(cpu, tokens, dy, want);
      embedding_backward(stream, to_device(tokens), to_device(dy), got);
      EXPECT_LT(relative_error(download(got), want), 1e-14) << count << " " << others;
    }
  }
}

}  // namespace
}  // namespace engram
