#include "kernels/core/work_graphs.h"

#include <gtest/gtest.h>

namespace engram {
namespace {

TEST(WorkGraphs, TheCpuRunsTheWorkEachTime) {
  Stream stream = CpuQueue{};
  WorkGraphs graphs(1);
  int num_calls = 0;
  for (int i = 0; i < 3; ++i) graphs.run(stream, {&graphs}, [&] { ++num_calls; });
  EXPECT_EQ(num_calls, 3);
  EXPECT_EQ(graphs.num_launched(), 0);
}

}  // namespace
}  // namespace engram
