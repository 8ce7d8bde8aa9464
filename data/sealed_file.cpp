#include "data/sealed_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "data/atomic_file.h"
#include "kernels/core/check.h"

namespace engram {
namespace {

std::string first_line(const std::string& format) { return format + "; digest of all behind byte 512 (XXH3-128):\n"; }

// The whole block: text, then zero bytes.
std::string seal_of(const std::string& path, const std::string& format) {
  std::string seal = first_line(format) + digest_of_file(path, kSealBytes) + "\n";
  seal.resize(kSealBytes, '\0');
  return seal;
}

}  // namespace

void seal_file(const std::string& path, const std::string& format) {
  const std::string seal = seal_of(path, format);
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.write(seal.data(), kSealBytes);
  file.close();
  ENGRAM_CHECK_AS(IoError, file, path, ": its first bytes cannot be written");
}

void check_seal(const std::string& path, const std::string& format) {
  std::string found(kSealBytes, '\0');
  std::ifstream file(path, std::ios::binary);
  ENGRAM_CHECK(file.is_open(), path, ": open failed: ", std::strerror(errno));
  file.read(found.data(), kSealBytes);
  ENGRAM_CHECK(found.starts_with(first_line(format)), path, ": is no ", format);
  ENGRAM_CHECK(found == seal_of(path, format), path,
               ": its bytes do not have the digest that it was given; the file was altered or "
               "cut off");
}

}  // namespace engram
