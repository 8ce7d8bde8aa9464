#include "trainer/terminal.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "parallel/mpi_communicator.h"

namespace engram {
namespace {

// Path of a process's standard output, as "/dev/pts/3" or "pipe:[1234]"; empty where it cannot be read.
std::string stdout_of(pid_t process) {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/" + std::to_string(process) + "/fd/1", error);
}

// 0 where it cannot be read.
pid_t parent_of(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/status");
  for (std::string word; file >> word;) {
    pid_t parent = 0;
    if (word == "PPid:") return file >> parent ? parent : 0;
  }
  return 0;
}

bool names_terminal(const std::string& path) {
  return path.starts_with("/dev/pts/") || path.starts_with("/dev/tty") || path == "/dev/console";
}

}  // namespace

bool stdout_is_terminal() {
  if (isatty(STDOUT_FILENO) != 1) return false;
  if (!MpiSession::launched()) return true;
  const std::string mine = stdout_of(getpid());
  for (pid_t process = getppid(); process > 0; process = parent_of(process)) {
    const std::string theirs = stdout_of(process);
    if (theirs != mine) return names_terminal(theirs);
  }
  return false;
}

}  // namespace engram
