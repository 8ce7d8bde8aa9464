#pragma once

#include <string>

#include "kernels/core/check.h"

namespace engram {

// For parse() of a json of nlohmann: throws Error with `where` in front where it is nested so deep that what recurs
// into it, as copies and dump() do, could run out of stack.
struct JsonDepth {
  static constexpr int kMost = 64;

  bool operator()(int depth, auto&&...) const {
    ENGRAM_CHECK(depth <= kMost, where, "nested deeper than ", kMost, " levels");
    return true;
  }

  std::string where = {};
};

}  // namespace engram
