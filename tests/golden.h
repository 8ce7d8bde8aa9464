#pragma once

#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "kernels/core/check.h"

// Reference vectors of tests/golden.
namespace engram::test {

inline nlohmann::json golden(const std::string& file) {
  const std::string path = std::string(ENGRAM_SOURCE_DIR) + "/tests/golden/" + file;
  std::ifstream stream(path);
  ENGRAM_CHECK(stream, "golden: cannot read ", path);
  return nlohmann::json::parse(stream);
}

// Numbers that may exceed 2^53 are decimal strings.
inline uint64_t wide_integer(const nlohmann::json& value) {
  return value.is_string() ? std::stoull(value.get<std::string>()) : value.get<uint64_t>();
}

}  // namespace engram::test
