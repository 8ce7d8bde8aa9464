#include "parallel/link_probe.h"

#include "tests/parallel/ranks.h"

namespace engram {
namespace {

TEST(LinkProbe, MeasuresEachRank) {
  test::for_each_world({1, 2, 3}, [](Communicator& world) {
    Stream stream = CpuQueue{};
    const std::vector<Link> links = probe_links(world, stream);
    ASSERT_EQ(std::ssize(links), world.rank() == 0 ? world.size() - 1 : 0);
    for (size_t i = 0; i < links.size(); ++i) {
      EXPECT_EQ(links[i].rank, static_cast<int>(i) + 1);
      EXPECT_TRUE(links[i].is_intact);
      EXPECT_FALSE(links[i].uses_tcp);
      EXPECT_GT(links[i].call_seconds, 0);
      EXPECT_GT(links[i].bytes_per_second, 0);
    }
  });
}

}  // namespace
}  // namespace engram
