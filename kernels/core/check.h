#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace engram {

// What a user, file, peer or driver got wrong. The message says what, got, wanted, where to look.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Another rank failed first; its own Error tells the cause, and main() never lets this one hide it.
class PeerFailed : public Error {
 public:
  using Error::Error;
};

// The system refused to read or write: a disk that is full, read-only or failing. The message ends with its reason.
class IoError : public Error {
 public:
  using Error::Error;
};

// A device, driver or library that this machine lacks or that fails; another one may do.
class Unavailable : public Error {
 public:
  using Error::Error;
};

namespace detail {

// File name from its folder on ("kernels/core/arena.h"), so that messages hold no path of the build machine.
constexpr std::string_view short_path(std::string_view path) {
  for (std::string_view folder : {"kernels/", "parallel/", "data/", "model/", "trainer/", "tests/"}) {
    if (const size_t at = path.rfind(folder); at != std::string_view::npos) return path.substr(at);
  }
  return path;
}

template <class Kind, class... Parts>
[[noreturn]] void fail(std::string_view file, int line, const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  message << " [" << short_path(file) << ":" << line << "]";
  throw Kind(message.str());
}

}  // namespace detail
}  // namespace engram

// Throws a Kind of Error built from the parts unless the condition holds.
#define ENGRAM_CHECK_AS(Kind, condition, ...)                        \
  do {                                                               \
    if (!(condition)) [[unlikely]] {                                 \
      ::engram::detail::fail<Kind>(__FILE__, __LINE__, __VA_ARGS__); \
    }                                                                \
  } while (false)

// Throws Error built from the parts unless the condition holds. For our own mistakes use assert.
#define ENGRAM_CHECK(condition, ...) ENGRAM_CHECK_AS(::engram::Error, condition, __VA_ARGS__)

// Throws Error built from the parts.
#define ENGRAM_FAIL(...) ::engram::detail::fail<::engram::Error>(__FILE__, __LINE__, __VA_ARGS__)
