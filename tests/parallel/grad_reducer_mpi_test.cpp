#include "parallel/grad_reducer.h"

#include "tests/parallel/ranks.h"
#include "tests/testing.h"

namespace engram {
namespace {

const std::vector<int64_t> kNumels{1000, 1, 0, 64, 4097, 131, 7};

// The gradient that a rank has for element i of the flat vector; the sum over ranks depends on the order.
float gradient_of(int rank, int64_t i) {
  return normal(5, RandomDomain::kSampling, static_cast<uint32_t>(rank), static_cast<uint64_t>(i));
}

std::vector<float> gradients_of(int rank, int64_t count) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(gradient_of(rank, i));
  return values;
}

Tensor tensor_of(std::vector<float>& values) { return {values.data(), DType::kFloat32, {std::ssize(values)}}; }

void expect_reduce_and_gather(Communicator& world, ZeroPolicy policy) {
  Stream stream = CpuQueue{};
  const OwnershipMap map(kNumels, world.size(), policy);
  const GradReducer reducer(world, map);
  auto values = gradients_of(world.rank(), map.flat_size());
  reducer.reduce_scatter(stream, tensor_of(values)).wait();

  std::vector<float> sums = gradients_of(0, map.flat_size());
  for (int rank = 1; rank < world.size(); ++rank) {
    for (int64_t i = 0; i < map.flat_size(); ++i) sums[static_cast<size_t>(i)] += gradient_of(rank, i);
  }
  const int64_t begin = world.rank() * map.part_size();
  for (int64_t i = 0; i < map.flat_size(); ++i) {
    const bool is_own = i >= begin && i < begin + map.part_size();
    const float want = is_own ? sums[static_cast<size_t>(i)] : gradient_of(world.rank(), i);
    ASSERT_EQ(values[static_cast<size_t>(i)], want) << "element " << i;
  }
  reducer.all_gather(stream, tensor_of(values)).wait();
  EXPECT_EQ(values, sums);
}

TEST(GradReducerTest, OwnersGetTheSumInRankOrderAndAllGetTheValues) {
  test::for_each_world({1, 2, 3, 4, 8}, [](Communicator& world) {
    expect_reduce_and_gather(world, ZeroPolicy::kFlat);
    expect_reduce_and_gather(world, ZeroPolicy::kWholeMatrix);
  });
}

TEST(GradReducerTest, RefusesWhatDoesNotFit) {
  test::for_each_world({2}, [](Communicator& world) {
    Stream stream = CpuQueue{};
    const OwnershipMap map(kNumels, 2, ZeroPolicy::kFlat), other(kNumels, 3, ZeroPolicy::kFlat);
    const std::string mapped = test::error_of([&] { GradReducer(world, other); });
    EXPECT_NE(mapped.find("got a map for 3 ranks, wanted 2"), std::string::npos) << mapped;
    std::vector<float> values(static_cast<size_t>(map.flat_size()) - 1);
    const GradReducer reducer(world, map);
    const std::string sized = test::error_of([&] { reducer.reduce_scatter(stream, tensor_of(values)).wait(); });
    EXPECT_NE(sized.find("grad reducer: flat vector: got float32"), std::string::npos) << sized;
  });
}

}  // namespace
}  // namespace engram
