#include "trainer/terminal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>

namespace engram {
namespace {

// Runs body in a child process and returns its exit code.
int exit_code_of(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// A file descriptor of a new pseudo-terminal.
int open_terminal() {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) return -1;
  return open(ptsname(master), O_RDWR | O_NOCTTY);
}

int open_pipe() {
  int ends[2];
  return pipe(ends) == 0 ? ends[1] : -1;
}

constexpr int kYes = 1, kNo = 0, kBroken = 2;

// What a process with this output says.
int says(int output) {
  if (output < 0 || dup2(output, STDOUT_FILENO) < 0) return kBroken;
  return stdout_is_terminal() ? kYes : kNo;
}

// What a rank says that has `output` while its launcher has `launcher_output`; with a wrapper, a process between the
// two has the rank's.
int says_under_launcher(int launcher_output, int output, bool with_wrapper = false) {
  return exit_code_of([=] {
    setenv("OMPI_COMM_WORLD_SIZE", "4", 1);
    if (launcher_output < 0 || dup2(launcher_output, STDOUT_FILENO) < 0) return kBroken;
    return exit_code_of([=] {
      if (!with_wrapper) return says(output);
      dup2(output, STDOUT_FILENO);
      return exit_code_of([=] { return says(output); });
    });
  });
}

class StdoutIsTerminal : public ::testing::Test {
 protected:
  void SetUp() override {
    if (terminal_ < 0 || other_terminal_ < 0) GTEST_SKIP() << "no pseudo-terminals here";
  }
  int terminal_ = open_terminal(), other_terminal_ = open_terminal(), pipe_ = open_pipe();
};

TEST_F(StdoutIsTerminal, WithoutALauncherItIsTheProcessThatCounts) {
  const auto alone = [](int output) {
    return exit_code_of([=] {
      for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) unsetenv(name);
      return says(output);
    });
  };
  EXPECT_EQ(alone(terminal_), kYes);
  EXPECT_EQ(alone(pipe_), kNo);
  EXPECT_EQ(alone(open("/dev/null", O_WRONLY)), kNo);
}

TEST_F(StdoutIsTerminal, UnderALauncherItIsTheLauncherThatCounts) {
  EXPECT_EQ(says_under_launcher(pipe_, terminal_), kNo);
  EXPECT_EQ(says_under_launcher(open("/dev/null", O_WRONLY), terminal_), kNo);
  EXPECT_EQ(says_under_launcher(other_terminal_, terminal_), kYes);
  EXPECT_EQ(says_under_launcher(other_terminal_, pipe_), kNo);
}

TEST_F(StdoutIsTerminal, AWrapperBetweenLauncherAndRankCountsForNothing) {
  EXPECT_EQ(says_under_launcher(pipe_, terminal_, true), kNo);
  EXPECT_EQ(says_under_launcher(other_terminal_, terminal_, true), kYes);
}

}  // namespace
}  // namespace engram
