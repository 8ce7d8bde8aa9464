#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

// Exported by libhdf5, although no header declares it.
extern "C" uint32_t H5_checksum_metadata(const void* data, size_t num_bytes, uint32_t initial);

// Corrects what HDF5 would refuse a mutated file for at once: the checksums of its metadata.
namespace engram::fuzz {

// Gives bytes [begin, end) of the file the checksum that follows them, where there is room for it.
inline void set_checksum(std::string& file, size_t begin, size_t end) {
  if (end > file.size() || file.size() - end < sizeof(uint32_t) || end <= begin) return;
  const uint32_t checksum = H5_checksum_metadata(file.data() + begin, end - begin, 0);
  std::memcpy(file.data() + end, &checksum, sizeof checksum);
}

// Where the first chunk of the object header at `begin` ends (HDF5 file format, version 2 object header prefix).
inline size_t end_of_header(std::string_view file, size_t begin) {
  if (file.size() - begin < 6) return begin;
  const auto flags = static_cast<unsigned char>(file[begin + 5]);
  size_t at = begin + 6 + ((flags & 0x20) != 0 ? 16 : 0) + ((flags & 0x10) != 0 ? 4 : 0), num_bytes = 0;
  for (int i = 0; i < 1 << (flags & 3); ++i, ++at) {
    if (at >= file.size() || i >= 4) return begin;
    num_bytes |= static_cast<size_t>(static_cast<unsigned char>(file[at])) << 8 * i;
  }
  return at + num_bytes;
}

// The file with right checksums of its superblock and object headers.
inline std::string with_checksums(std::string file) {
  constexpr std::string_view kSuperblock = "\x89HDF\r\n\x1a\n", kHeader = "OHDR";
  if (const size_t at = file.find(kSuperblock); at != std::string::npos) set_checksum(file, at, at + 44);
  for (size_t at = file.find(kHeader); at != std::string::npos; at = file.find(kHeader, at + 1)) {
    set_checksum(file, at, end_of_header(file, at));
  }
  return file;
}

}  // namespace engram::fuzz
