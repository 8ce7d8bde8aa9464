#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace engram {

// A file that appears under its name complete and durable, or not at all: it is written under a temporary name in the
// same directory, then synced, renamed, and the directory synced. Until publish() a file of that name stays as it was.
// All functions here but check_is_file() throw IoError with path, call and the system's reason.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  // Removes the temporary file where publish() was not reached.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // Where to write; the caller creates the file and closes it before publish().
  const std::string& temporary_path() const { return temporary_path_; }
  void publish();

 private:
  std::string path_, temporary_path_;
  bool published_ = false;
};

// Removes what an AtomicFile of this name left behind in processes that were killed. The caller knows that none writes
// it now.
void remove_temporary_files(const std::string& path);

// The whole of `path` becomes `contents`, as AtomicFile does it.
void write_file_atomically(const std::string& path, std::string_view contents);

// Flushes a file's contents, or a directory's entries, to the device.
void sync_file(const std::string& path);
void sync_directory(const std::string& path);

// All bytes of a file.
std::string contents_of_file(const std::string& path);

// Throws Error where `path`, which a user named, is not there or is a directory; `wanted` ends the message. Who may not
// look at it gets the system's error.
void check_is_file(const std::string& path, const std::string& wanted);

// The path with its "." and ".." worked out and without "/" at its end: of "a/./b/" it is "a/b".
std::string directory_path(const std::string& directory);

// The directory, or the nearest above it that is there: it would be made in that.
std::string existing_directory(const std::string& directory);

// Bytes [begin, end) of a file.
struct ByteRange {
  int64_t begin = 0, end = 0;
  bool operator==(const ByteRange&) const = default;
  bool empty() const { return begin == end; }
};

// XXH3-128 as 32 hexadecimal digits: of bytes that come in parts, of memory, or of a file's bytes
// from first_byte on, those in `skipped` left out.
class RunningDigest {
 public:
  RunningDigest();
  ~RunningDigest();
  void update(std::span<const std::byte> bytes);
  std::string digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};
std::string digest_of(std::span<const std::byte> bytes);
std::string digest_of_file(const std::string& path, int64_t first_byte = 0, const ByteRange& skipped = {});

// Throws Error unless the file system of `directory` has `num_bytes` left for this user.
void check_free_space(const std::string& directory, int64_t num_bytes);

}  // namespace engram
