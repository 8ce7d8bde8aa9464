#include "kernels/attention.h"
#include "tests/gpu_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct AttentionGpuTest : test::GpuFixture {
  struct Sizes {
    int64_t batch, seq, heads, kv_heads, dim;
  };

  // Sums over channels and keys in float lose more than GpuFixture allows.
  static double bound(DType dtype) { return dtype == DType::kFloat32 ? 1e-5 : GpuFixture::bound(dtype); }

  void compare(DType dtype, const Sizes& sizes) {
    SCOPED_TRACE(std::string(name_of(dtype)) + ", seq " + std::to_string(sizes.seq) + ", heads " +
                 std::to_string(sizes.heads) + "/" + std::to_string(sizes.kv_heads) + ", dim " +
                 std::to_string(sizes.dim));
    Arena::Scope host_scope(host), device_scope(*device);
    const auto [batch, seq, heads, kv_heads, dim] = sizes;
    const std::initializer_list<int64_t> query_shape = {batch, seq, heads, dim},
                                         key_shape = {batch, seq, kv_heads, dim};
    const Tensor q = test::random_tensor<double>(host, 1, query_shape),
                 k = test::random_tensor<double>(host, 2, key_shape);
    const Tensor v = test::random_tensor<double>(host, 3, key_shape),
                 dout = test::random_tensor<double>(host, 4, query_shape);
    const Tensor device_q = upload(q, dtype), device_k = upload(k, dtype), device_v = upload(v, dtype);
    const Tensor host_q = rounded(q, dtype), host_k = rounded(k, dtype), host_v = rounded(v, dtype);
    const auto take = [&](std::initializer_list<int64_t> shape) { return host.take("want", DType::kFloat64, shape); };

    const Tensor out = poisoned(dtype, query_shape), lse = poisoned(DType::kFloat32, {batch, heads, seq});
    const Tensor want_out = take(query_shape), want_lse = take({batch, heads, seq});
    attention_forward(stream, device_q, device_k, device_v, out, lse);
    attention_forward(cpu, host_q, host_k, host_v, want_out, want_lse);
    EXPECT_LT(relative_error(download(out), want_out), bound(dtype));
    EXPECT_LT(relative_error(download(lse), want_lse), 1e-5);

    const Tensor dq = poisoned(dtype, query_shape), dk = poisoned(dtype, key_shape), dv = poisoned(dtype, key_shape);
    const Tensor want_dq = take(query_shape), want_dk = take(key_shape), want_dv = take(key_shape);
    attention_backward(stream, device_q, device_k, device_v, out, lse, upload(dout, dtype), dq, dk, dv);
    attention_backward(cpu, host_q, host_k, host_v, download(out), want_lse, rounded(dout, dtype), want_dq, want_dk,
                       want_dv);
    if (seq > 1) {  // with one key the weight is 1, and rounding is all that is left of dq and dk
      EXPECT_LT(relative_error(download(dq), want_dq), bound(dtype));
      EXPECT_LT(relative_error(download(dk), want_dk), bound(dtype));
    }
    EXPECT_LT(relative_error(download(dv), want_dv), bound(dtype));
  }
};

TEST_F(AttentionGpuTest, MatchesTheDoubleForm) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t seq : {0, 1, 31, 64, 65, 193}) {
      compare(dtype, {.batch = 2, .seq = seq, .heads = 6, .kv_heads = 2, .dim = 64});
    }
    for (const int64_t dim : {1, 8, 80, 128, 130, 256}) {
      compare(dtype, {.batch = 1, .seq = 97, .heads = 2, .kv_heads = 1, .dim = dim});
    }
    compare(dtype, {.batch = 3, .seq = 70, .heads = 3, .kv_heads = 3, .dim = 16});
  }
}

TEST_F(AttentionGpuTest, TwoRunsGiveTheSameBits) {
  const std::initializer_list<int64_t> shape = {2, 300, 4, 64};
  Tensor x[4];  // q, k, v, dout
  for (uint64_t i = 0; i < 4; ++i) x[i] = upload(test::random_tensor<double>(host, i, shape), DType::kBFloat16);
  const Tensor out = poisoned(DType::kBFloat16, shape), lse = poisoned(DType::kFloat32, {2, 4, 300});
  attention_forward(stream, x[0], x[1], x[2], out, lse);
  Tensor gradients[2][3];
  for (auto& [dq, dk, dv] : gradients) {
    for (Tensor* gradient : {&dq, &dk, &dv}) *gradient = poisoned(DType::kBFloat16, shape);
    attention_backward(stream, x[0], x[1], x[2], out, lse, x[3], dq, dk, dv);
  }
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(test::same_bits(download(gradients[0][i]), download(gradients[1][i])));
}

}  // namespace
}  // namespace engram
