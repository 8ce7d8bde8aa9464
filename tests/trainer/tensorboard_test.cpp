#include "trainer/tensorboard.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "kernels/core/check.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

// tests/end_to_end/tensorboard_test.py reads such files by TensorBoard itself; here is what needs no other program.
struct TensorBoardTest : ::testing::Test {
  std::string directory = ::testing::TempDir() + "tensorboard_" + std::to_string(::getpid());
  void SetUp() override { fs::create_directories(directory); }
  void TearDown() override { fs::remove_all(directory); }

  std::set<std::string> files() const {
    std::set<std::string> paths;
    for (const auto& entry : fs::directory_iterator(directory)) paths.insert(entry.path().string());
    return paths;
  }
};

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The bytes that every event file of TensorFlow starts with: 24 bytes follow, the checksum of that, key of a double.
TEST_F(TensorBoardTest, StartsAsEventFilesDo) {
  TensorBoardFile log(directory, 0);
  log.flush();
  const std::string text = contents(*files().begin());
  EXPECT_EQ(text.substr(0, 13), std::string("\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22\x09", 13));
  EXPECT_EQ(text.substr(21, 15),
            "\x1a\x0d"
            "brain.Event:2");
}

TEST_F(TensorBoardTest, WritesTheFiniteScalarsOfAStep) {
  TensorBoardFile log(directory, 0);
  log.flush();
  const std::string path = *files().begin();
  const size_t start = contents(path).size();
  log.write(300, {{"loss", 1.5}, {"gate", std::nan("")}, {"norm", INFINITY}});
  log.flush();
  const std::string event = contents(path).substr(start);
  ASSERT_GT(event.size(), 24u);
  const std::string step = "\x10\xac\x02";  // 300 as a varint
  const std::string loss = std::string("\x2a\x0d\x0a\x0b\x0a\x04loss\x15\0\0\xc0\x3f", 15);
  EXPECT_EQ(event.substr(21, event.size() - 25), step + loss);
  log.write(301, {{"gate", std::nan("")}});
  log.flush();
  EXPECT_EQ(contents(path).size(), start + event.size());
}

TEST_F(TensorBoardTest, NamesSortAsTheyWereBegun) {
  std::set<std::string> before;
  for (int64_t step = 0; step < 5; ++step) {  // in the same second
    const TensorBoardFile log(directory, step);
    const std::set<std::string> all = files();
    ASSERT_EQ(all.size(), before.size() + 1);
    EXPECT_FALSE(before.contains(*all.rbegin()));
    before = all;
  }
}

TEST_F(TensorBoardTest, RefusesADirectoryThatIsNotThere) {
  EXPECT_ANY_THROW(TensorBoardFile(directory + "/nowhere", 0));
}

}  // namespace
}  // namespace engram
