#include "parallel/mesh.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/parallel/ranks.h"
#include "tests/testing.h"

namespace engram {
namespace {

void expect_grouping(Communicator& world, const Grouping& grouping, int64_t extent) {
  std::vector<int64_t> shard, replica;
  for (int64_t r = 0; r < world.size(); ++r) {
    if (r / extent == world.rank() / extent) shard.push_back(r);
    if (r % extent == world.rank() % extent) replica.push_back(r);
  }
  EXPECT_EQ(test::world_ranks(world, *grouping.shard), shard);
  EXPECT_EQ(test::world_ranks(world, *grouping.replica), replica);
  EXPECT_EQ(grouping.shard->rank(), world.rank() % extent);
  EXPECT_EQ(grouping.replica->rank(), world.rank() / extent);
}

TEST(MeshTest, GroupsHoldTheRanksOfEachShare) {
  test::for_each_world({1, 2, 4, 8}, [](Communicator& world) {
    for (const int64_t expert : {1, 2, 4, 8}) {
      for (const int64_t table : {1, 2, 4, 8}) {
        if (std::max(expert, table) > world.size()) continue;
        const Mesh mesh(world, {.expert = expert, .table = table});
        expect_grouping(world, mesh.expert(), expert);
        expect_grouping(world, mesh.table(), table);
        EXPECT_EQ(mesh.data().size(), world.size());
      }
    }
  });
}

TEST(MeshTest, TablesAreSharedByAllRanksUnlessToldOtherwise) {
  test::for_each_world({1, 2, 3, 4, 8}, [](Communicator& world) {
    const Mesh mesh(world, {});
    expect_grouping(world, mesh.expert(), 1);
    expect_grouping(world, mesh.table(), world.size());
  });
}

TEST(MeshTest, RefusesWhatDoesNotFitByName) {
  const auto message = [](const MeshShape& shape) { return test::error_of([&] { validate(shape, 4); }); };
  EXPECT_EQ(message({.expert = 2, .table = 4}), "");
  EXPECT_TRUE(message({.pipeline = 2}).starts_with("parallel.pipeline: 2 is not supported yet; only 1 is"));
  EXPECT_TRUE(message({.context = 2}).starts_with("parallel.context: 2 is not"));
  EXPECT_TRUE(message({.tensor = 0}).starts_with("parallel.tensor: 0 is not"));
  EXPECT_TRUE(message({.expert = 3}).starts_with("parallel.expert: 3 does not divide the 4 data ranks"));
  EXPECT_TRUE(message({.table = 8}).starts_with("parallel.table: 8 does not divide the 4 data ranks"));
  EXPECT_TRUE(message({.table = -1}).starts_with("parallel.table: -1 does not divide"));
}

}  // namespace
}  // namespace engram
