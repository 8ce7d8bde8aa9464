#include "kernels/random_fill.h"
#include "kernels/rope.h"
#include "tests/gpu_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct RopeGpuTest : test::GpuFixture {
  struct Sizes {
    int64_t batch, seq, queries, keys, head_dim;
  };
  struct Norm {
    QkNorm norm;
    Tensor dquery_gain, dkey_gain;
  };

  void compare_tables(DType dtype) {
    const Tensor table = poisoned(dtype, {67, 32, 2}), want = host.take("table", DType::kFloat64, {67, 32, 2});
    rope_table(stream, 1e4, table);
    rope_table(cpu, 1e4, want);
    EXPECT_LT(relative_error(download(table), want), bound(dtype));
  }

  // Turns the queries and keys of a packed tensor, which has value heads as well.
  void compare(DType dtype, const Sizes& s, bool with_norm) {
    SCOPED_TRACE(std::string(name_of(dtype)) + (with_norm ? ", norm" : "") + ", seq " + std::to_string(s.seq) +
                 ", heads " + std::to_string(s.queries) + "/" + std::to_string(s.keys) + ", dim " +
                 std::to_string(s.head_dim));
    Arena::Scope host_scope(host), device_scope(*device);
    const DType wide = accumulator(dtype);
    const int64_t num_turned = s.queries + s.keys;
    const std::initializer_list<int64_t> packed_shape = {s.batch, s.seq, num_turned + s.keys, s.head_dim},
                                         turned_shape = {s.batch, s.seq, num_turned, s.head_dim},
                                         table_shape = {s.seq + 3, s.head_dim / 2, 2};
    const auto turned = [&](const Tensor& packed) { return HeadSlice(packed, 0, num_turned); };
    const Tensor host_table = host.take("table", DType::kFloat64, table_shape);
    rope_table(cpu, 1e4, host_table);
    const Tensor table = upload(host_table, wide).rows(2, s.seq), want_table = rounded(host_table, wide).rows(2, s.seq);
    const Tensor values = test::random_tensor<double>(host, 1, packed_shape),
                 gradients = test::random_tensor<double>(host, 2, packed_shape);
    Tensor gains[2];
    for (uint64_t i = 0; i < 2; ++i) gains[i] = test::random_tensor<double>(host, 3 + i, {s.head_dim});
    Norm got_norm, want_norm;
    if (with_norm) {
      const QkNorm like{.query_gain = {}, .key_gain = {}, .num_query_heads = s.queries, .eps = 1e-6};
      got_norm = {like, upload(gains[0], wide), upload(gains[1], wide)};
      want_norm = {like, rounded(gains[0], wide), rounded(gains[1], wide)};
      got_norm.norm.query_gain = upload(gains[0], dtype), got_norm.norm.key_gain = upload(gains[1], dtype);
      want_norm.norm.query_gain = rounded(gains[0], dtype), want_norm.norm.key_gain = rounded(gains[1], dtype);
    }

    const Tensor x = upload(values, dtype), want_x = rounded(values, dtype);
    const Tensor y = poisoned(dtype, turned_shape), want_y = host.take("y", DType::kFloat64, turned_shape);
    rope_forward(stream, turned(x), got_norm.norm, table, y);
    rope_forward(cpu, turned(want_x), want_norm.norm, want_table, want_y);
    EXPECT_LT(relative_error(download(y), want_y), bound(dtype));

    const Tensor d = upload(gradients, dtype), want_d = rounded(gradients, dtype);  // in place, as the model does
    rope_backward(stream, turned(x), got_norm.norm, table, turned(d), turned(d), got_norm.dquery_gain,
                  got_norm.dkey_gain);
    rope_backward(cpu, turned(want_x), want_norm.norm, want_table, turned(want_d), turned(want_d),
                  want_norm.dquery_gain, want_norm.dkey_gain);
    EXPECT_LT(relative_error(download(d), want_d), bound(dtype));
    if (!with_norm) return;
    EXPECT_LT(relative_error(download(got_norm.dquery_gain), want_norm.dquery_gain), bound(wide));
    EXPECT_LT(relative_error(download(got_norm.dkey_gain), want_norm.dkey_gain), bound(wide));
  }
};

TEST_F(RopeGpuTest, MatchesTheDoubleForm) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    compare_tables(accumulator(dtype));
    for (const bool with_norm : {false, true}) {
      for (const int64_t seq : {0, 1, 67}) {
        for (const int64_t head_dim : {2, 6, 16, 48, 64, 128, 256}) compare(dtype, {2, seq, 3, 1, head_dim}, with_norm);
        compare(dtype, {1, seq, 1, 1, 64}, with_norm);
        compare(dtype, {3, seq, 12, 4, 64}, with_norm);
        compare(dtype, {2, seq, 16, 16, 128}, with_norm);
      }
      compare(dtype, {3, 2000, 5, 2, 32}, with_norm);  // more tokens than warps in flight
    }
  }
}

TEST_F(RopeGpuTest, TwoRunsGiveTheSameBits) {
  const auto random = [&](uint32_t number, std::initializer_list<int64_t> shape) {
    const Tensor tensor = device->take("test.random", DType::kBFloat16, shape);
    fill_normal(
        stream, tensor,
        {.seed = 1, .domain = RandomDomain::kSampling, .tensor = number, .first_index = 0, .mean = 0, .deviation = 1});
    return tensor;
  };
  const Tensor table = poisoned(DType::kFloat32, {4096, 32, 2});
  rope_table(stream, 1e4, table);
  const Tensor x = random(1, {2, 4096, 16, 64}), dy = random(2, {2, 4096, 16, 64});
  const QkNorm norm{.query_gain = random(3, {64}), .key_gain = random(4, {64}), .num_query_heads = 12, .eps = 1e-6};
  Tensor results[2][3];
  for (auto& [dx, dquery_gain, dkey_gain] : results) {
    dx = poisoned(DType::kBFloat16, {2, 4096, 16, 64});
    dquery_gain = upload(test::constant_tensor(host, 0.5, {64}), DType::kFloat32);
    dkey_gain = upload(test::constant_tensor(host, 0.5, {64}), DType::kFloat32);
    rope_backward(stream, x, norm, table, dy, dx, dquery_gain, dkey_gain);
  }
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(test::same_bits(to_host(results[0][i]), to_host(results[1][i])));
}

}  // namespace
}  // namespace engram
