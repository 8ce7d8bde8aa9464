#pragma once

#include <source_location>

// clang 14 has no __builtin_source_location, and libstdc++ then no class; what the program uses of it, for builds that
// fuzz (CMakeLists.txt includes this file first). Newer ones have it.
#if !__has_builtin(__builtin_source_location)
namespace std {

class source_location {
 public:
  static constexpr source_location current(const char* file = __builtin_FILE(),
                                           const char* function = __builtin_FUNCTION(),
                                           unsigned line = __builtin_LINE()) {
    source_location where;
    where.file_ = file;
    where.function_ = function;
    where.line_ = line;
    return where;
  }
  constexpr const char* file_name() const { return file_; }
  constexpr const char* function_name() const { return function_; }
  constexpr unsigned line() const { return line_; }

 private:
  const char* file_ = "";
  const char* function_ = "";
  unsigned line_ = 0;
};

}  // namespace std
#endif
