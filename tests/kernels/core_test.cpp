#include <limits>
#include <set>

#include "kernels/core/dispatch.h"
#include "kernels/core/event.h"
#include "tests/testing.h"

namespace engram {
namespace {

using test::error_of;

TEST(TensorTest, CheckComparesEveryAxisAfterAFreeOne) {
  float value = 0;
  const Tensor tensor(&value, DType::kFloat32, {2, 3, 4});
  EXPECT_EQ(error_of([&] { check_tensor("x", tensor, DType::kFloat32, {-1, 3, -1}); }), "");
  EXPECT_EQ(error_of([&] { check_tensor("x", tensor, DType::kFloat32, {2, -1, 4}); }), "");
  EXPECT_NE(error_of([&] { check_tensor("x", tensor, DType::kFloat32, {-1, 2, 4}); }), "");
  EXPECT_NE(error_of([&] { check_tensor("x", tensor, DType::kFloat32, {2, -1, 3}); }), "");
}

TEST(TensorTest, CheckSaysWhatItGotAndWanted) {
  const Tensor tensor(nullptr, DType::kInt32, {2, 3});
  const std::string message = error_of([&] { check_tensor("op: x", tensor, DType::kFloat32, {2, 3}); });
  EXPECT_NE(message.find("op: x: got int32 [2, 3], wanted float32 [2, 3] [kernels/core/"), std::string::npos)
      << message;
  EXPECT_NE(error_of([&] { check_tensor("op: x", tensor, DType::kInt32, {2, 3, 1}); }), "");
  EXPECT_NE(error_of([&] { check_tensor("op: x", tensor, DType::kInt32, {6}); }), "");
}

TEST(TensorTest, SizesAndRowsFollowTheShape) {
  std::vector<double> values(24);
  const Tensor tensor(values.data(), DType::kFloat64, {4, 2, 3});
  EXPECT_EQ(tensor.numel(), 24);
  EXPECT_EQ(tensor.num_bytes(), 192);
  EXPECT_EQ(tensor.rows(1, 2).data, values.data() + 6);
  EXPECT_EQ(to_string(tensor.rows(1, 2).shape()), "[2, 2, 3]");
  EXPECT_EQ(tensor.rows(4, 0).numel(), 0);
  EXPECT_EQ(tensor.reshape({8, 3}).size(0), 8);
  EXPECT_NE(error_of([&] { tensor.reshape({5, 5}); }).find("reshape: 25 elements from 24"), std::string::npos);
  EXPECT_TRUE(Tensor().empty());
  EXPECT_EQ(Tensor(nullptr, DType::kInt64, {0, 7}).numel(), 0);
}

TEST(TensorTest, ViewsIndexRowMajor) {
  std::vector<int32_t> values(24);
  const Tensor tensor(values.data(), DType::kInt32, {4, 2, 3});
  const auto cube = view<int32_t, 3>(tensor);
  EXPECT_EQ(&cube(2, 1, 2), values.data() + 17);
  EXPECT_EQ(cube.row(3), values.data() + 18);
  EXPECT_EQ(flat_view<int32_t>(tensor).size(0), 24);
  EXPECT_EQ(host_span<int32_t>(tensor).size(), 24u);
  EXPECT_EQ((optional_view<int32_t, 3>(Tensor()).data), nullptr);
  EXPECT_NE(error_of([&] { view<int64_t, 3>(tensor); }).find("tensor is int32, wanted int64"), std::string::npos);
  EXPECT_NE(error_of([&] { view<int32_t, 2>(tensor); }).find("shape [4, 2, 3], wanted rank 2"), std::string::npos);
}

TEST(ArenaTest, ScopesGiveBackAndThePeakStays) {
  Arena arena(Device::kCpu, 4096);
  const Tensor kept = arena.take("kept", DType::kFloat32, {3});
  {
    Arena::Scope scope(arena);
    EXPECT_EQ(arena.take("a", DType::kUInt8, {300}).data, static_cast<char*>(kept.data) + 256);
    arena.take("b", DType::kUInt8, {1});
    arena.take("a", DType::kUInt8, {0});
    EXPECT_EQ(arena.used_bytes(), 1024);
  }
  EXPECT_EQ(arena.used_bytes(), 256);
  EXPECT_EQ(arena.take("c", DType::kUInt8, {1}).data, static_cast<char*>(kept.data) + 256);
  EXPECT_EQ(arena.peak_bytes(), 1024);
  EXPECT_EQ(arena.report(), "512 a\n256 kept\n256 b\n");
}

TEST(ArenaTest, EveryTensorIsAlignedAndPoisoned) {
  Arena arena(Device::kCpu, 4096, /*poison=*/true);
  for (const int64_t count : {1, 63, 64, 65}) {
    const Tensor tensor = arena.take("x", DType::kFloat32, {count});
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data) % 256, 0u);
    for (const float value : host_span<float>(tensor)) EXPECT_TRUE(std::isnan(value));
  }
}

TEST(ArenaTest, NamesTheTensorThatDoesNotFit) {
  Arena arena(Device::kCpu, 512);
  arena.take("first", DType::kFloat32, {64});
  const std::string message = error_of([&] { arena.take("second", DType::kFloat32, {65}); });
  EXPECT_NE(message.find("arena: \"second\" needs 512 bytes, 256 of 512 are left"), std::string::npos) << message;
  EXPECT_EQ(arena.used_bytes(), 256);
  arena.take("third", DType::kFloat32, {64});
}

TEST(ArenaTest, ADryArenaCountsPastAnyMemory) {
  Arena arena = Arena::dry();
  const Tensor tensor = arena.take("x", DType::kFloat64, {int64_t{1} << 40});
  EXPECT_FALSE(tensor.empty());
  EXPECT_EQ(arena.peak_bytes(), int64_t{1} << 43);
}

TEST(BufferTest, RefusesATensorThatDoesNotFit) {
  const Buffer buffer(Device::kCpu, 16);
  EXPECT_EQ(buffer.tensor(DType::kFloat32, {4}).data, buffer.data());
  EXPECT_NE(error_of([&] { buffer.tensor(DType::kFloat32, {5}); }).find("tensor of 20 bytes in a buffer of 16"),
            std::string::npos);
}

TEST(DispatchTest, RefusesATypeWithoutTwinAndSkipsADryStream) {
  Stream cpu = CpuQueue{}, dry = DryQueue{};
  DType called = DType::kUInt8;
  const auto body = [&]<class T>(auto&) { called = dtype_of<T>; };
  dispatch<Cpu<float, double>, Cuda<>>("op", cpu, DType::kFloat64, body);
  EXPECT_EQ(called, DType::kFloat64);
  dispatch<Cpu<float, double>, Cuda<>>("op", dry, DType::kFloat32, body);
  EXPECT_EQ(called, DType::kFloat64);
  const std::string message =
      error_of([&] { dispatch<Cpu<float, double>, Cuda<>>("op", cpu, DType::kBFloat16, body); });
  EXPECT_NE(message.find("op: no CPU form for bfloat16"), std::string::npos) << message;
}

// Known answers of Random123 (D. E. Shaw Research), tests/kat_vectors, lines "philox4x32 10".
TEST(RngTest, PhiloxGivesTheKnownAnswers) {
  const auto words = [](const Random128& random) { return std::vector<uint32_t>(random.word, random.word + 4); };
  EXPECT_EQ(words(philox(0, 0, 0)), (std::vector<uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(words(philox(~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0})),
            (std::vector<uint32_t>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(words(philox(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e)),
            (std::vector<uint32_t>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
  static_assert(philox(0, 0, 0).word[0] == 0x6627e8d5);
}

TEST(RngTest, UniformFillsTheUnitInterval) {
  EXPECT_EQ(uniform(0), 0.0f);
  EXPECT_EQ(uniform(~uint32_t{0}), 1.0f - 0x1p-24f);
  EXPECT_EQ(uniform(uint32_t{1} << 31), 0.5f);
}

TEST(RngTest, NormalHasTheMomentsAndTheShapeOfANormal) {
  constexpr size_t kCount = size_t{1} << 20;
  std::vector<double> values(kCount);
  double mean = 0, variance = 0, cube = 0;
  for (size_t i = 0; i < kCount; ++i) {
    values[i] = normal(7, RandomDomain::kDenseInit, 3, i);
    mean += values[i] / kCount;
    variance += values[i] * values[i] / kCount;
    cube += std::pow(values[i], 3) / kCount;
  }
  EXPECT_NEAR(mean, 0, 5 * 0.001);  // five standard errors
  EXPECT_NEAR(variance, 1, 5 * 0.0014);
  EXPECT_NEAR(cube, 0, 5 * 0.004);
  std::sort(values.begin(), values.end());
  EXPECT_GT(values.front(), -4.91);
  EXPECT_LT(values.back(), 4.91);
  double distance = 0;  // Kolmogorov-Smirnov: 0.002 of the shape and the scatter of a million draws
  for (size_t i = 0; i < kCount; ++i) {
    distance = std::max(distance, std::abs(double(i) / kCount - 0.5 * std::erfc(-values[i] / std::sqrt(2.0))));
  }
  EXPECT_LT(distance, 0.004);
}

TEST(RngTest, NormalIsSymmetricAndBounded) {
  constexpr uint32_t kAll = ~uint32_t{0};
  constexpr float kLargest = normal(Random128{{kAll, kAll, kAll, kAll}});
  static_assert(kLargest > 4.89f && kLargest < 4.9f);
  static_assert(normal(Random128{{0, 0, 0, 0}}) == -kLargest);
}

TEST(RngTest, EveryPartOfTheKeyMatters) {
  std::set<float> values;
  for (const uint64_t seed : {0, 1}) {
    for (const RandomDomain domain : {RandomDomain::kDenseInit, RandomDomain::kTableInit}) {
      for (const uint32_t tensor : {0, 1}) {
        for (const uint64_t index : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32}) {
          values.insert(normal(seed, domain, tensor, index));
        }
      }
    }
  }
  EXPECT_EQ(values.size(), 24u);
}

TEST(EventTest, PointsOfACpuStreamLieInThePast) {
  Stream stream = CpuQueue{};
  Event event;
  EXPECT_TRUE(event.is_reached());
  event.record(stream);
  event.hold(stream);
  event.synchronize();
  EXPECT_TRUE(event.is_reached());
}

TEST(BFloat16Test, EveryValueSurvivesTheWayThroughFloat) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    bfloat16 value;
    value.bits = static_cast<uint16_t>(bits);
    const float wide = static_cast<float>(value);
    if (std::isnan(wide))
      EXPECT_TRUE(std::isnan(static_cast<float>(bfloat16(wide))));
    else
      EXPECT_EQ(bfloat16(wide).bits, bits);
  }
}

TEST(BFloat16Test, RoundsToNearestAndTiesToEven) {
  const auto bits_of = [](uint32_t word) { return bfloat16(std::bit_cast<float>(word)).bits; };
  EXPECT_EQ(bits_of(0x3f808000), 0x3f80);  // a tie, down to even
  EXPECT_EQ(bits_of(0x3f818000), 0x3f82);  // a tie, up to even
  EXPECT_EQ(bits_of(0x3f808001), 0x3f81);
  EXPECT_EQ(bits_of(0x3f817fff), 0x3f81);
  EXPECT_EQ(bits_of(0xbf818000), 0xbf82);
  EXPECT_EQ(bits_of(0x00008001), 0x0001);  // subnormal
  EXPECT_EQ(bits_of(0x7f7fffff), 0x7f80);  // past the largest finite value: infinity
  EXPECT_EQ(bits_of(0x7f800000), 0x7f80);
  EXPECT_EQ(bits_of(0x80000000), 0x8000);
}

TEST(BFloat16Test, NaNStaysNaN) {
  for (const uint32_t word : {0x7f800001u, 0x7fc00000u, 0xffffffffu, 0x7fffffffu}) {
    EXPECT_TRUE(std::isnan(static_cast<float>(bfloat16(std::bit_cast<float>(word))))) << word;
  }
}

}  // namespace
}  // namespace engram
