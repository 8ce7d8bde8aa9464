#pragma once

#include <string>

namespace engram::test {

// Nested so deep that whoever recurs into it runs out of stack.
inline std::string deep_json() {
  constexpr size_t kDepth = 1'000'000;
  return std::string(kDepth, '[') + std::string(kDepth, ']');
}

}  // namespace engram::test
