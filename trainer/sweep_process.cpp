#include "trainer/sweep_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "kernels/core/check.h"
#include "kernels/core/device_info.h"

namespace engram {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string boot_id() { return first_line("/proc/sys/kernel/random/boot_id"); }

// State and start time of a process; state 0 where there is none. The name in /proc/PID/stat may hold anything, so
// fields are counted from its last parenthesis.
struct ProcessStat {
  char state = 0;
  int64_t start_ticks = 0;
};
ProcessStat read_stat(int64_t pid) {
  constexpr int kFieldsToStart = 19;  // from the state, field 3, to field 22
  const std::string line = first_line("/proc/" + std::to_string(pid) + "/stat");
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream fields(line.substr(name_end + 1));
  ProcessStat stat;
  fields >> stat.state;
  std::string skipped;
  for (int i = 1; i < kFieldsToStart; ++i) fields >> skipped;
  fields >> stat.start_ticks;
  return stat;
}

bool same_and_living(const ProcessIdentity& process) {
  const ProcessStat stat = read_stat(process.pid);
  return stat.state != 0 && stat.state != 'Z' && stat.state != 'X' && stat.start_ticks == process.start_ticks;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (std::string& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

// The environment of this process with `changes` over it.
std::vector<std::string> merged_environment(const std::vector<std::string>& changes) {
  std::vector<std::string> merged = changes;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string text = *variable;
    const std::string name = text.substr(0, text.find('=') + 1);
    bool is_changed = false;
    for (const std::string& change : changes) is_changed = is_changed || change.starts_with(name);
    if (!is_changed) merged.push_back(text);
  }
  return merged;
}

// In the child, between fork and exec: system calls alone.
[[noreturn]] void become(int gate, int output, char* const* arguments, char* const* environment) {
  ::setpgid(0, 0);
  char go = 0;
  ssize_t count = 0;
  do count = ::read(gate, &go, 1);
  while (count < 0 && errno == EINTR);
  if (count != 1) ::_exit(0);
  const int input = ::open("/dev/null", O_RDONLY);
  ::dup2(input, 0);
  ::dup2(output, 1);
  ::dup2(output, 2);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR2}) ::signal(signal, SIG_DFL);
  ::execvpe(arguments[0], arguments, environment);
  ::_exit(127);
}

std::optional<int> exit_code(int64_t pid, int options) {
  int status = 0;
  pid_t ended = 0;
  do ended = ::waitpid(static_cast<pid_t>(pid), &status, options);
  while (ended < 0 && errno == EINTR);
  if (ended == 0) return std::nullopt;
  ENGRAM_CHECK(ended > 0, "waitpid: ", std::strerror(errno));
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

ProcessIdentity process_identity(int64_t pid) {
  return {.pid = pid, .start_ticks = read_stat(pid).start_ticks, .boot_id = boot_id(), .host = host_name()};
}

Liveness liveness(const ProcessIdentity& process) {
  if (process.host != host_name()) return Liveness::kUnknown;
  return process.boot_id == boot_id() && same_and_living(process) ? Liveness::kAlive : Liveness::kDead;
}

ChildProcess::ChildProcess(const Launch& launch) {
  std::vector<std::string> arguments = launch.arguments, environment = merged_environment(launch.environment);
  const std::vector<char*> argument_pointers = pointers(arguments), environment_pointers = pointers(environment);
  const int output = ::open(launch.output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  ENGRAM_CHECK_AS(IoError, output >= 0, launch.output, ": cannot be opened for writing: ", std::strerror(errno));
  int ends[2];
  ENGRAM_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair: ", std::strerror(errno));
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::close(ends[1]);
    become(ends[0], output, argument_pointers.data(), environment_pointers.data());
  }
  ::close(output);
  ::close(ends[0]);
  gate_ = ends[1];
  ENGRAM_CHECK(pid > 0, "fork: ", std::strerror(errno));
  identity_ = process_identity(pid);
}

ChildProcess::~ChildProcess() {
  if (gate_ >= 0) ::close(gate_);
}

void ChildProcess::release() {
  const char go = 1;
  const ssize_t count = ::send(gate_, &go, 1, MSG_NOSIGNAL);  // a pipe's signal would end this process
  ENGRAM_CHECK(count == 1 || errno == EPIPE || errno == ECONNRESET, "send: ", std::strerror(errno));
  ::close(std::exchange(gate_, -1));
}

std::optional<int> ChildProcess::poll() const { return exit_code(identity_.pid, WNOHANG); }

int ChildProcess::wait() const { return exit_code(identity_.pid, 0).value(); }

void signal_group(const ProcessIdentity& process, int signal) {
  if (liveness(process) == Liveness::kAlive) ::kill(static_cast<pid_t>(-process.pid), signal);
}

std::string own_executable() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

}  // namespace engram
