#include "trainer/run_start.h"

#include <gtest/gtest.h>

namespace engram {
namespace {

RunConfig with(int64_t every, int64_t keep, int64_t keep_every, bool at_end = true) {
  RunConfig config;
  config.train.steps = 1000;
  config.checkpoint = {.every = every, .at_end = at_end, .keep = keep, .keep_every = keep_every};
  return config;
}

TEST(RunStart, BytesOfTheCheckpointsToCome) {
  EXPECT_EQ(bytes_of_saves(with(0, 2, 0), 0, 0, 100), 110);
  EXPECT_EQ(bytes_of_saves(with(0, 2, 0, false), 0, 0, 100), 0);
  EXPECT_EQ(bytes_of_saves(with(0, 2, 0), 1000, 1, 100), 0);
  EXPECT_EQ(bytes_of_saves(with(600, 2, 0), 0, 0, 100), 220);  // after 600, and at the end
  EXPECT_EQ(bytes_of_saves(with(500, 2, 0), 0, 0, 100), 220);
  EXPECT_EQ(bytes_of_saves(with(100, 2, 0), 0, 0, 100), 330);  // one more while the next is written
  EXPECT_EQ(bytes_of_saves(with(100, 2, 0), 200, 2, 100), 110);
  EXPECT_EQ(bytes_of_saves(with(100, 2, 0), 200, 9, 100), 110);
  EXPECT_EQ(bytes_of_saves(with(100, 2, 250), 0, 0, 100), 770);
  EXPECT_EQ(bytes_of_saves(with(100, 2, 250), 500, 3, 100), 330);
}

}  // namespace
}  // namespace engram
