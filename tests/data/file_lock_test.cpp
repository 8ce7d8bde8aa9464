#include "data/file_lock.h"

#include <chrono>
#include <filesystem>
#include <optional>
#include <thread>

#include "tests/data/temporary_directory.h"
#include "tests/testing.h"

namespace engram {
namespace {

using namespace std::chrono_literals;

TEST(FileLock, IsOfTheFileThatIsThereWhenItIsGranted) {
  const test::TemporaryDirectory directory;
  const std::string path = directory / "lock";
  std::optional<FileLock> first(std::in_place, path, /*wait=*/true), second;
  std::jthread waiting([&] { second.emplace(path, /*wait=*/true); });
  std::this_thread::sleep_for(200ms);  // it has opened the file that goes
  std::filesystem::remove(path);
  first.reset();
  waiting.join();
  EXPECT_TRUE(second->held());
  EXPECT_FALSE(FileLock(path, /*wait=*/false).held());
}

TEST(FileLock, IsFreeOnceItsHolderIsGone) {
  const test::TemporaryDirectory directory;
  const std::string path = directory / "lock";
  EXPECT_TRUE(is_free(path));
  {
    const FileLock lock(path, /*wait=*/false);
    EXPECT_TRUE(lock.held());
    EXPECT_FALSE(is_free(path));
  }
  EXPECT_TRUE(is_free(path));
  EXPECT_THROW(FileLock("/nowhere/lock", /*wait=*/false), IoError);
}

}  // namespace
}  // namespace engram
