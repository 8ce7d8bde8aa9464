#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace engram {

// Which process it is, beyond doubt: a process id alone is given to others later.
struct ProcessIdentity {
  int64_t pid = 0;
  int64_t start_ticks = 0;  // since boot, from /proc/PID/stat
  std::string boot_id;
  std::string host;
};

ProcessIdentity process_identity(int64_t pid);

enum class Liveness { kAlive, kDead, kUnknown };
// kUnknown: it ran on another host.
Liveness liveness(const ProcessIdentity& process);

struct Launch {
  std::vector<std::string> arguments;    // the program first, searched in PATH
  std::vector<std::string> environment;  // "NAME=value", over those of this process
  std::string output;                    // file that gets standard output and errors, appended
};

// A child process in a process group of its own. It waits for release() before it becomes the program; where this
// process ends before that, or destroys the object, the child ends too.
class ChildProcess {
 public:
  explicit ChildProcess(const Launch& launch);
  ~ChildProcess();
  ChildProcess(ChildProcess&& other) noexcept
      : identity_(std::move(other.identity_)), gate_(std::exchange(other.gate_, -1)) {}
  ChildProcess& operator=(ChildProcess&&) = delete;

  const ProcessIdentity& identity() const { return identity_; }
  void release();  // nothing where the child has ended: poll() and wait() tell
  // Exit code once it has ended, 128 + signal where one ended it; nothing while it runs.
  std::optional<int> poll() const;
  // Waits for the end.
  int wait() const;

 private:
  ProcessIdentity identity_;
  int gate_ = -1;
};

// Sends the signal to the process group of a living process; nothing where it is another process by now.
void signal_group(const ProcessIdentity& process, int signal);

// The program that runs.
std::string own_executable();

}  // namespace engram
