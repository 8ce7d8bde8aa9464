// A library for LD_PRELOAD that counts the calls that change what is below a directory, and makes some of them fail or
// the process end there:
//
//   ENGRAM_SHIM_PATH   part of the paths that count
//   ENGRAM_SHIM_CALLS  names of the calls that count; all but read and pread where it is not set
//   ENGRAM_SHIM_RANK   the MPI rank that counts; all where it is not set
//   ENGRAM_SHIM_FIRST  number of the first call that fails, from 0; none where it is not set
//   ENGRAM_SHIM_COUNT  how many fail from there on
//   ENGRAM_SHIM_ERRNO  with what; "kill": the process ends by SIGKILL before the call; "hang": the call never returns;
//                      "slow": it takes eight seconds and does not fail
//   ENGRAM_SHIM_LOG    file that gets a line per call: number and name
//
// Known are read, pread, write, pwrite, fsync, rename, mkdir, remove and unlinkat.
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

namespace {

std::atomic<long> num_calls{0};

long number_of(const char* variable, long otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::atol(text);
}

bool is_chosen_rank() {
  const char* wanted = std::getenv("ENGRAM_SHIM_RANK");
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  return wanted == nullptr || (rank != nullptr && std::strcmp(wanted, rank) == 0);
}

bool is_chosen_call(const char* call) {
  const char* chosen = std::getenv("ENGRAM_SHIM_CALLS");
  if (chosen == nullptr) return std::strcmp(call, "read") != 0 && std::strcmp(call, "pread") != 0;
  return (" " + std::string(chosen) + " ").find(" " + std::string(call) + " ") != std::string::npos;
}

bool counts(const char* path) {
  const char* part = std::getenv("ENGRAM_SHIM_PATH");
  return part != nullptr && std::strstr(path, part) != nullptr;
}

bool counts(int file) {
  char path[4096];
  const ssize_t length = ::readlink(("/proc/self/fd/" + std::to_string(file)).c_str(), path, sizeof(path) - 1);
  path[length < 0 ? 0 : length] = '\0';
  return counts(path);
}

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

void log(long number, const char* call) {
  const char* path = std::getenv("ENGRAM_SHIM_LOG");
  if (path == nullptr) return;
  const int file = ::open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
  ::dprintf(file, "%ld %s\n", number, call);
  ::close(file);
}

// Whether this call is one that fails; sets errno then.
template <class Target>
bool fails(const Target& target, const char* call) {
  if (!is_chosen_rank() || !is_chosen_call(call) || !counts(target)) return false;
  const long number = num_calls++;
  log(number, call);
  const long first = number_of("ENGRAM_SHIM_FIRST", -1), count = number_of("ENGRAM_SHIM_COUNT", 1);
  if (first < 0 || number < first || number - first >= count) return false;
  const char* reason = std::getenv("ENGRAM_SHIM_ERRNO");
  const std::string what = reason == nullptr ? "" : reason;
  if (what == "kill") ::raise(SIGKILL);
  while (what == "hang") ::pause();
  if (what == "slow") std::this_thread::sleep_for(std::chrono::seconds(8));
  if (what == "slow") return false;
  errno = static_cast<int>(number_of("ENGRAM_SHIM_ERRNO", EIO));
  return true;
}

}  // namespace

extern "C" {

ssize_t read(int file, void* data, size_t size) {
  return fails(file, "read") ? -1 : next<decltype(read)>("read")(file, data, size);
}
ssize_t pread(int file, void* data, size_t size, off_t offset) {
  return fails(file, "pread") ? -1 : next<decltype(pread)>("pread")(file, data, size, offset);
}
ssize_t pread64(int file, void* data, size_t size, off64_t offset) {
  return fails(file, "pread") ? -1 : next<decltype(pread64)>("pread64")(file, data, size, offset);
}
ssize_t write(int file, const void* data, size_t size) {
  return fails(file, "write") ? -1 : next<decltype(write)>("write")(file, data, size);
}
ssize_t pwrite(int file, const void* data, size_t size, off_t offset) {
  return fails(file, "pwrite") ? -1 : next<decltype(pwrite)>("pwrite")(file, data, size, offset);
}
ssize_t pwrite64(int file, const void* data, size_t size, off64_t offset) {
  return fails(file, "pwrite") ? -1 : next<decltype(pwrite64)>("pwrite64")(file, data, size, offset);
}
int fsync(int file) { return fails(file, "fsync") ? -1 : next<decltype(fsync)>("fsync")(file); }
int rename(const char* from, const char* to) noexcept {
  return fails(to, "rename") ? -1 : next<decltype(rename)>("rename")(from, to);
}
int mkdir(const char* path, mode_t mode) noexcept {
  return fails(path, "mkdir") ? -1 : next<decltype(mkdir)>("mkdir")(path, mode);
}

int remove(const char* path) noexcept { return fails(path, "remove") ? -1 : next<decltype(remove)>("remove")(path); }
int unlinkat(int directory, const char* path, int flags) noexcept {
  return fails(directory, "unlinkat") ? -1 : next<decltype(unlinkat)>("unlinkat")(directory, path, flags);
}

}  // extern "C"
