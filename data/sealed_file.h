#pragma once

#include <cstdint>
#include <string>

#include "data/atomic_file.h"

namespace engram {

// A file whose first kSealBytes say what it is and which digest all that follows has. HDF5 passes over them (a "user
// block"), so that a damaged file is found out before HDF5 takes it apart. Other HDF5 programs read such files too.
inline constexpr int64_t kSealBytes = 512;

// Fills in the first kSealBytes of a file that left room for them; nothing else may be written to it afterwards.
// `format` says what kind of file it is, in at most 64 characters. The seal does not cover the bytes in `skipped`,
// which lie behind it and have checksums of their own, and says so.
void seal_file(const std::string& path, const std::string& format, const ByteRange& skipped = {});

// Throws Error unless the file is sealed as this format and every byte of it is as it was then, but for those that the
// seal does not cover; returns which these are. They lie within the file.
ByteRange check_seal(const std::string& path, const std::string& format);

// Whether the file begins like one that is sealed as this format, nothing being compared.
bool begins_like(const std::string& path, const std::string& format);

// What the seal says that it does not cover, nothing being compared; none where the file has no such seal.
ByteRange range_without_seal(const std::string& path, const std::string& format);

}  // namespace engram
