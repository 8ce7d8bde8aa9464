#include "data/atomic_file.h"

#include "tests/data/temporary_directory.h"
#include "tests/testing.h"

namespace engram {
namespace {

using test::error_of;

int64_t num_files(const test::TemporaryDirectory& directory) {
  return std::distance(std::filesystem::directory_iterator(directory.path()), {});
}

TEST(AtomicFile, ReplacesWholeFilesAndLeavesNothingBeside) {
  const test::TemporaryDirectory directory;
  const std::string path = directory / "file", large(3 << 20, 'x');
  for (const std::string& contents : {std::string("one"), std::string(), large}) {
    write_file_atomically(path, contents);
    EXPECT_EQ(test::read_file(path), contents);
    EXPECT_EQ(num_files(directory), 1);
  }
}

TEST(AtomicFile, UnpublishedFileLeavesTheOldOne) {
  const test::TemporaryDirectory directory;
  const std::string path = directory / "file";
  write_file_atomically(path, "old");
  {
    AtomicFile file(path);
    test::write_file(file.temporary_path(), "half");
    EXPECT_EQ(test::read_file(path), "old");
  }
  EXPECT_EQ(test::read_file(path), "old");
  EXPECT_EQ(num_files(directory), 1);
}

TEST(AtomicFile, DigestsAreXxh3OfAllBytes) {
  const test::TemporaryDirectory directory;
  const std::string path = directory / "file", large((2 << 20) + 7, 'y');
  EXPECT_EQ(digest_of({}), "99aa06d3014798d86001c324468d497f");  // published value of the empty input
  for (const std::string& contents : {std::string(), std::string("abc"), large}) {
    test::write_file(path, contents);
    EXPECT_EQ(contents_of_file(path), contents);
    EXPECT_EQ(digest_of_file(path), digest_of(std::as_bytes(std::span<const char>(contents))));
  }
}

TEST(AtomicFile, TellsAFileFromADirectoryAndFromNothing) {
  const test::TemporaryDirectory directory;
  const std::string file = directory / "file";
  test::write_file(file, "");
  check_is_file(file, "a file");
  check_is_file("/dev/null", "a file");
  for (const std::string& path : {directory.path(), directory / "none", file + "/below"}) {
    EXPECT_EQ(
        error_of([&] { check_is_file(path, "a file"); }).find(path + ": is not there, or a directory; wanted a file"),
        0u)
        << path;
  }
}

TEST(AtomicFile, WorksOutThePathOfADirectory) {
  for (const auto& [given, wanted] : std::vector<std::pair<const char*, const char*>>{{"a/b", "a/b"},
                                                                                      {"a/./b//", "a/b"},
                                                                                      {"a/../b/.", "b"},
                                                                                      {"../", ".."},
                                                                                      {"..", ".."},
                                                                                      {"a/..", "."},
                                                                                      {"./", "."},
                                                                                      {".", "."},
                                                                                      {"", ""},
                                                                                      {"/", "/"},
                                                                                      {"/a/", "/a"}}) {
    EXPECT_EQ(directory_path(given), wanted) << given;
  }
}

TEST(AtomicFile, FindsTheDirectoryThatIsThere) {
  const test::TemporaryDirectory directory;
  EXPECT_EQ(existing_directory(directory.path()), directory.path());
  EXPECT_EQ(existing_directory(directory / "a/b/c"), directory.path());
  EXPECT_EQ(existing_directory("/"), "/");
  EXPECT_EQ(existing_directory("none/below"), std::filesystem::current_path().string());
}

TEST(AtomicFile, ErrorsNamePathAndReason) {
  const test::TemporaryDirectory directory;
  const std::string nowhere = directory / "none/file";
  EXPECT_NE(error_of([&] { write_file_atomically(nowhere, "x"); }).find("open failed: No such file"),
            std::string::npos);
  EXPECT_NE(error_of([&] { digest_of_file(nowhere); }).find(nowhere + ": open failed"), std::string::npos);
  EXPECT_NE(error_of([&] { AtomicFile(directory / "never-written").publish(); }).find("open failed"),
            std::string::npos);
  check_free_space(directory.path(), 1);
  EXPECT_NE(error_of([&] {
              check_free_space(directory.path(), INT64_MAX);
            }).find("bytes are free, wanted 9223372036854775807"),
            std::string::npos);
  EXPECT_NE(error_of([&] { check_free_space(nowhere, 1); }).find("statvfs failed"), std::string::npos);
}

}  // namespace
}  // namespace engram
