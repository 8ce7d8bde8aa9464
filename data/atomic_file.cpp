#include "data/atomic_file.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <utility>
#include <vector>

#include "kernels/core/check.h"

namespace engram {
namespace {

constexpr const char* kTemporarySuffix = ".tmp.";

// An open file descriptor that closes itself.
struct Descriptor {
  int number;

  Descriptor(const std::string& path, int flags, mode_t mode = 0)
      : number(::open(path.c_str(), flags | O_CLOEXEC, mode)) {
    ENGRAM_CHECK_AS(IoError, number >= 0, path, ": open failed: ", std::strerror(errno));
  }
  ~Descriptor() { ::close(number); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
};

std::string parent_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent;
}

std::string hex(const XXH128_hash_t& hash) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return text;
}

void sync(const std::string& path, int flags) {
  const Descriptor file(path, flags);
  ENGRAM_CHECK_AS(IoError, ::fsync(file.number) == 0, path, ": fsync failed: ", std::strerror(errno));
}

// Gives take() the bytes of a file in the range, as far as they are there, part by part.
void read_parts(const std::string& path, const ByteRange& range,
                const std::function<void(std::span<const std::byte>)>& take) {
  const Descriptor file(path, O_RDONLY);
  const bool is_there = range.begin == 0 || ::lseek(file.number, range.begin, SEEK_SET) == range.begin;  // a pipe is
  ENGRAM_CHECK_AS(IoError, is_there, path, ": seek failed: ", std::strerror(errno));
  std::vector<std::byte> buffer(size_t{1} << 20);
  for (int64_t left = range.end - range.begin; left > 0;) {
    const ssize_t count = ::read(file.number, buffer.data(), std::min(buffer.size(), static_cast<size_t>(left)));
    if (count < 0 && errno == EINTR) continue;
    ENGRAM_CHECK_AS(IoError, count >= 0, path, ": read failed: ", std::strerror(errno));
    if (count == 0) return;
    take(std::span(buffer).first(static_cast<size_t>(count)));
    left -= count;
  }
}

}  // namespace

// The process number keeps two programs that write the same name apart.
AtomicFile::AtomicFile(std::string path)
    : path_(std::move(path)), temporary_path_(path_ + kTemporarySuffix + std::to_string(::getpid())) {
  ::unlink(temporary_path_.c_str());
}

AtomicFile::~AtomicFile() {
  if (!published_) ::unlink(temporary_path_.c_str());
}

void AtomicFile::publish() {
  sync_file(temporary_path_);
  ENGRAM_CHECK_AS(IoError, std::rename(temporary_path_.c_str(), path_.c_str()) == 0, path_, ": rename from ",
                  temporary_path_, " failed: ", std::strerror(errno));
  published_ = true;
  sync_directory(parent_of(path_));
}

void remove_temporary_files(const std::string& path) {
  const std::string directory = parent_of(path);
  if (!std::filesystem::is_directory(directory)) return;
  const std::string prefix = std::filesystem::path(path).filename().string() + kTemporarySuffix;
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().filename().string().starts_with(prefix)) found.push_back(entry.path());
  }
  for (const auto& file : found) std::filesystem::remove(file);
}

void write_file_atomically(const std::string& path, std::string_view contents) {
  AtomicFile file(path);
  {
    const Descriptor output(file.temporary_path(), O_WRONLY | O_CREAT | O_EXCL, 0666);
    while (!contents.empty()) {
      const ssize_t written = ::write(output.number, contents.data(), contents.size());
      if (written < 0 && errno == EINTR) continue;
      ENGRAM_CHECK_AS(IoError, written >= 0, file.temporary_path(), ": write failed: ", std::strerror(errno));
      contents.remove_prefix(static_cast<size_t>(written));
    }
  }
  file.publish();
}

std::string contents_of_file(const std::string& path) {
  std::string contents;
  read_parts(path, {0, INT64_MAX}, [&](std::span<const std::byte> part) {
    contents.append(reinterpret_cast<const char*>(part.data()), part.size());
  });
  return contents;
}

void check_is_file(const std::string& path, const std::string& wanted) {
  const std::filesystem::file_status status = std::filesystem::status(path);
  ENGRAM_CHECK(exists(status) && !is_directory(status), path, ": is not there, or a directory; wanted ", wanted);
}

std::string directory_path(const std::string& directory) {
  const std::filesystem::path path = std::filesystem::path(directory).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

std::string existing_directory(const std::string& directory) {
  std::filesystem::path path = std::filesystem::absolute(directory);
  std::error_code none;  // what may not be looked at is there: whoever goes on to use it tells
  while (std::filesystem::status(path, none).type() == std::filesystem::file_type::not_found &&
         path.has_relative_path()) {
    path = path.parent_path();
  }
  return path;
}

void sync_file(const std::string& path) { sync(path, O_RDONLY); }

void sync_directory(const std::string& path) { sync(path, O_RDONLY | O_DIRECTORY); }

struct RunningDigest::State {
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> hash{XXH3_createState(), XXH3_freeState};
};

RunningDigest::RunningDigest() : state_(std::make_unique<State>()) { XXH3_128bits_reset(state_->hash.get()); }
RunningDigest::~RunningDigest() = default;

void RunningDigest::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_->hash.get(), bytes.data(), bytes.size());
}

std::string RunningDigest::digest() const { return hex(XXH3_128bits_digest(state_->hash.get())); }

std::string digest_of(std::span<const std::byte> bytes) { return hex(XXH3_128bits(bytes.data(), bytes.size())); }

std::string digest_of_file(const std::string& path, int64_t first_byte, const ByteRange& skipped) {
  RunningDigest digest;
  const auto update = [&](std::span<const std::byte> part) { digest.update(part); };
  if (!skipped.empty()) read_parts(path, {first_byte, skipped.begin}, update);
  read_parts(path, {skipped.empty() ? first_byte : skipped.end, INT64_MAX}, update);
  return digest.digest();
}

void check_free_space(const std::string& directory, int64_t num_bytes) {
  struct statvfs status;
  ENGRAM_CHECK_AS(IoError, ::statvfs(directory.c_str(), &status) == 0, directory,
                  ": statvfs failed: ", std::strerror(errno));
  const auto available = static_cast<int64_t>(status.f_bavail) * static_cast<int64_t>(status.f_frsize);
  ENGRAM_CHECK_AS(IoError, available >= num_bytes, directory, ": ", available, " bytes are free, wanted ", num_bytes);
}

}  // namespace engram
