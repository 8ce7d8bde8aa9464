#pragma once

#include <map>
#include <string>

#include "data/safetensors.h"

namespace engram {

// The tensors of an export: one safetensors file, or several with an index.
class ExportReader {
 public:
  explicit ExportReader(const std::string& directory);

  // By name.
  const std::map<std::string, SafetensorsEntry>& tensors() const { return tensors_; }
  // Elements [first, first + values.size()) of a tensor in float32 or bfloat16.
  void read(const std::string& name, int64_t first, std::span<float> values);

 private:
  void add_file(const std::string& path);

  std::vector<SafetensorsReader> files_;
  std::map<std::string, SafetensorsEntry> tensors_;
  std::map<std::string, size_t> file_of_;
};

}  // namespace engram
