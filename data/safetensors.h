#pragma once

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "kernels/core/dtype.h"

// Files of named tensors that other software reads (https://github.com/huggingface/safetensors): 8 bytes,
// little-endian, with the length of a JSON header; the header; the bytes of all tensors, one after the other:
//   {"__metadata__": {"KEY": "TEXT"}, "NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [BEGIN, END]}, ...}
namespace engram {

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;
  int64_t offset = 0;  // of its first byte from the end of the header

  int64_t num_bytes() const;
};

using SafetensorsMetadata = std::map<std::string, std::string>;

// Writes a new file from beginning to end. Throws IoError where the system refuses.
class SafetensorsWriter {
 public:
  // The tensors in the order in which append() gives them; their offsets follow from it.
  SafetensorsWriter(std::string path, const std::vector<SafetensorsEntry>& entries,
                    const SafetensorsMetadata& metadata);
  // The next bytes: a tensor may come in pieces.
  void append(std::span<const std::byte> bytes);
  // Throws IoError unless every byte was written.
  void close();

 private:
  std::string path_;
  std::ofstream file_;
  int64_t bytes_left_ = 0;
};

// Reads an existing file. Throws Error, naming file and tensor, where the header is longer than the file or 100 MB, has
// a key twice, or leaves holes, overlaps or ends anywhere but at the end of the file.
class SafetensorsReader {
 public:
  explicit SafetensorsReader(std::string path);

  const std::string& path() const { return path_; }
  const SafetensorsMetadata& metadata() const { return metadata_; }
  // In the order of their bytes.
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }
  // Bytes [first, first + bytes.size()) of a tensor of this file.
  void read(const SafetensorsEntry& entry, int64_t first, std::span<std::byte> bytes);

 private:
  std::string path_;
  std::ifstream file_;
  int64_t data_begin_ = 0;
  SafetensorsMetadata metadata_;
  std::vector<SafetensorsEntry> entries_;
};

}  // namespace engram
