#include "kernels/attention.h"
#include "kernels/random_fill.h"
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

  // Queries, keys and values, or their gradients, in one packed tensor.
  struct Packed {
    Tensor memory;  // [batch, seq, heads + 2 * kv_heads, dim]
    HeadSlice q, k, v;
  };
  static Packed packed(const Tensor& memory, const Sizes& s) {
    return {memory, HeadSlice(memory, 0, s.heads), HeadSlice(memory, s.heads, s.kv_heads),
            HeadSlice(memory, s.heads + s.kv_heads, s.kv_heads)};
  }

  void compare(DType dtype, const Sizes& sizes) {
    SCOPED_TRACE(std::string(name_of(dtype)) + ", seq " + std::to_string(sizes.seq) + ", heads " +
                 std::to_string(sizes.heads) + "/" + std::to_string(sizes.kv_heads) + ", dim " +
                 std::to_string(sizes.dim));
    Arena::Scope host_scope(host), device_scope(*device);
    const auto [batch, seq, heads, kv_heads, dim] = sizes;
    const std::initializer_list<int64_t> packed_shape = {batch, seq, heads + 2 * kv_heads, dim},
                                         out_shape = {batch, seq, heads, dim}, lse_shape = {batch, heads, seq};
    const Tensor qkv = test::random_tensor<double>(host, 1, packed_shape),
                 dout = test::random_tensor<double>(host, 2, out_shape);
    const auto take = [&](std::initializer_list<int64_t> shape) { return host.take("want", DType::kFloat64, shape); };
    const Packed x = packed(upload(qkv, dtype), sizes), host_x = packed(rounded(qkv, dtype), sizes);

    const Tensor out = poisoned(dtype, out_shape), lse = poisoned(DType::kFloat32, lse_shape);
    const Tensor want_out = take(out_shape), want_lse = take(lse_shape);
    attention_forward(stream, x.q, x.k, x.v, out, lse);
    attention_forward(cpu, host_x.q, host_x.k, host_x.v, want_out, want_lse);
    EXPECT_LT(relative_error(download(out), want_out), bound(dtype));
    EXPECT_LT(relative_error(download(lse), want_lse), 1e-5);

    const Packed d = packed(poisoned(dtype, packed_shape), sizes), want = packed(take(packed_shape), sizes);
    attention_backward(stream, x.q, x.k, x.v, out, lse, upload(dout, dtype), d.q, d.k, d.v);
    attention_backward(cpu, host_x.q, host_x.k, host_x.v, download(out), want_lse, rounded(dout, dtype), want.q, want.k,
                       want.v);
    const Packed got = packed(download(d.memory), sizes);
    if (seq > 1) {  // with one key the weight is 1, and rounding is all that is left of dq and dk
      EXPECT_LT(relative_error(taken(got.q), taken(want.q)), bound(dtype));
      EXPECT_LT(relative_error(taken(got.k), taken(want.k)), bound(dtype));
    }
    EXPECT_LT(relative_error(taken(got.v), taken(want.v)), bound(dtype));
  }

  // bfloat16 beside float32 on the card, where the double form would take long.
  void compare_with_float(const Sizes& sizes) {
    SCOPED_TRACE("dim " + std::to_string(sizes.dim));
    Arena::Scope host_scope(host), device_scope(*device);
    const auto [batch, seq, heads, kv_heads, dim] = sizes;
    const std::initializer_list<int64_t> packed_shape = {batch, seq, heads + 2 * kv_heads, dim},
                                         out_shape = {batch, seq, heads, dim}, lse_shape = {batch, heads, seq};
    const auto widened = [&](const Tensor& values) { return upload(download(values), DType::kFloat32); };
    const auto error = [&](const Tensor& got, const Tensor& want) {
      return relative_error(download(got), download(want));
    };
    const Tensor qkv = random_on_device(1, packed_shape), dout = random_on_device(2, out_shape);
    const Packed x = packed(qkv, sizes), wide_x = packed(widened(qkv), sizes);

    const Tensor out = poisoned(DType::kBFloat16, out_shape), lse = poisoned(DType::kFloat32, lse_shape);
    const Tensor want_out = poisoned(DType::kFloat32, out_shape), want_lse = poisoned(DType::kFloat32, lse_shape);
    attention_forward(stream, x.q, x.k, x.v, out, lse);
    attention_forward(stream, wide_x.q, wide_x.k, wide_x.v, want_out, want_lse);
    EXPECT_LT(error(out, want_out), bound(DType::kBFloat16));
    EXPECT_LT(error(lse, want_lse), 1e-5);

    const Packed d = packed(poisoned(DType::kBFloat16, packed_shape), sizes),
                 wide_d = packed(poisoned(DType::kFloat32, packed_shape), sizes);
    attention_backward(stream, x.q, x.k, x.v, out, lse, dout, d.q, d.k, d.v);
    attention_backward(stream, wide_x.q, wide_x.k, wide_x.v, widened(out), want_lse, widened(dout), wide_d.q, wide_d.k,
                       wide_d.v);
    const Packed got = packed(download(d.memory), sizes), want = packed(download(wide_d.memory), sizes);
    for (const auto slice : {&Packed::q, &Packed::k, &Packed::v}) {
      EXPECT_LT(relative_error(taken(got.*slice), taken(want.*slice)), bound(DType::kBFloat16));
    }
  }

  // Values of deviation 1 made on the device, where making them on the host would take long.
  Tensor random_on_device(uint32_t number, std::initializer_list<int64_t> shape) {
    const Tensor tensor = device->take("test.random", DType::kBFloat16, shape);
    fill_normal(
        stream, tensor,
        {.seed = 1, .domain = RandomDomain::kSampling, .tensor = number, .first_index = 0, .mean = 0, .deviation = 1});
    return tensor;
  }

  // A slice of doubles on the host as a tensor of its own.
  Tensor taken(const HeadSlice& slice) {
    const auto from = heads_view<double>(slice);
    const Tensor result = host.take("taken", DType::kFloat64, {from.num_positions(), slice.count * from.size(3)});
    for (int64_t position = 0; position < from.num_positions(); ++position) {
      std::copy_n(from.at(position, 0), result.size(1), view<double, 2>(result).row(position));
    }
    return result;
  }
};

TEST_F(AttentionGpuTest, MatchesTheDoubleForm) {
  for (const bool use_libraries : {true, false}) {
    SCOPED_TRACE(use_libraries ? "with libraries" : "built-in kernels");
    use_library_kernels(stream, use_libraries);
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      for (const int64_t seq : {0, 1, 2, 31, 64, 65, 193, 301}) {
        compare(dtype, {.batch = 2, .seq = seq, .heads = 6, .kv_heads = 2, .dim = 64});
      }
      for (const int64_t dim : {1, 8, 80, 128, 130, 256}) {
        compare(dtype, {.batch = 1, .seq = 97, .heads = 2, .kv_heads = 1, .dim = dim});
      }
      compare(dtype, {.batch = 3, .seq = 70, .heads = 3, .kv_heads = 3, .dim = 16});
    }
  }
}

TEST_F(AttentionGpuTest, SumsInAnyOrderMatchTheDoubleForm) {
  set_deterministic(stream, false);
  compare(DType::kBFloat16, {.batch = 2, .seq = 256, .heads = 12, .kv_heads = 4, .dim = 64});
  compare(DType::kBFloat16, {.batch = 1, .seq = 301, .heads = 4, .kv_heads = 4, .dim = 128});
}

// The heads of models that are trained; sequences of more than one tile, and of a part of one.
TEST_F(AttentionGpuTest, MatchesTheDoubleFormAtTheSizesOfModels) {
  for (const int64_t seq : {256, 389}) {
    for (const int64_t dim : {64, 128}) {
      compare(DType::kBFloat16, {.batch = 1, .seq = seq, .heads = 12, .kv_heads = 4, .dim = dim});
      compare(DType::kBFloat16, {.batch = 1, .seq = seq, .heads = 16, .kv_heads = 4, .dim = dim});
      compare(DType::kBFloat16, {.batch = 1, .seq = seq, .heads = 16, .kv_heads = 16, .dim = dim});
    }
  }
}

TEST_F(AttentionGpuTest, LargeLengthsMatchTheFloatForm) {
  for (const bool use_libraries : {true, false}) {
    SCOPED_TRACE(use_libraries ? "with libraries" : "built-in kernels");
    use_library_kernels(stream, use_libraries);
    compare_with_float({.batch = 1, .seq = 8192, .heads = 2, .kv_heads = 1, .dim = 64});
    compare_with_float({.batch = 1, .seq = 8192, .heads = 1, .kv_heads = 1, .dim = 128});
  }
}

// So many sequences that the backward pass goes over them in several calls, the last of them shorter.
TEST_F(AttentionGpuTest, ManySequencesMatchEachAlone) {
  const Sizes sizes{.batch = 35, .seq = 1024, .heads = 16, .kv_heads = 16, .dim = 64};
  const Packed x = packed(random_on_device(1, {sizes.batch, sizes.seq, 48, 64}), sizes);
  const Packed d = packed(poisoned(DType::kBFloat16, {sizes.batch, sizes.seq, 48, 64}), sizes);
  const Tensor dout = random_on_device(2, {sizes.batch, sizes.seq, 16, 64});
  const Tensor out = poisoned(DType::kBFloat16, {sizes.batch, sizes.seq, 16, 64}),
               lse = poisoned(DType::kFloat32, {sizes.batch, 16, sizes.seq});
  attention_forward(stream, x.q, x.k, x.v, out, lse);
  attention_backward(stream, x.q, x.k, x.v, out, lse, dout, d.q, d.k, d.v);
  for (const int64_t sequence : {0, 17, 34}) {
    const auto row = [&](const Packed& all) { return packed(all.memory.rows(sequence, 1), sizes); };
    const Packed one = row(x), want = packed(poisoned(DType::kBFloat16, {1, sizes.seq, 48, 64}), sizes);
    attention_backward(stream, one.q, one.k, one.v, out.rows(sequence, 1), lse.rows(sequence, 1),
                       dout.rows(sequence, 1), want.q, want.k, want.v);
    EXPECT_TRUE(test::same_bits(to_host(row(d).memory), to_host(want.memory))) << "sequence " << sequence;
  }
}

TEST_F(AttentionGpuTest, TwoRunsGiveTheSameBits) {
  for (const bool use_libraries : {true, false}) {
    use_library_kernels(stream, use_libraries);
    const Sizes sizes{.batch = 4, .seq = 1500, .heads = 12, .kv_heads = 4, .dim = 64};
    const Packed x = packed(random_on_device(1, {sizes.batch, sizes.seq, 20, 64}), sizes);
    const Tensor dout = random_on_device(2, {sizes.batch, sizes.seq, 12, 64});
    const Tensor out = poisoned(DType::kBFloat16, {sizes.batch, sizes.seq, 12, 64}),
                 lse = poisoned(DType::kFloat32, {sizes.batch, 12, sizes.seq});
    attention_forward(stream, x.q, x.k, x.v, out, lse);
    Tensor gradients[3];
    for (Tensor& gradient : gradients) {
      gradient = poisoned(DType::kBFloat16, {sizes.batch, sizes.seq, 20, 64});
      const Packed d = packed(gradient, sizes);
      attention_backward(stream, x.q, x.k, x.v, out, lse, dout, d.q, d.k, d.v);
    }
    for (const Tensor& again : gradients) EXPECT_TRUE(test::same_bits(to_host(gradients[0]), to_host(again)));
  }
}

}  // namespace
}  // namespace engram
