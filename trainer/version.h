#pragma once

#include <string>

namespace engram {

// Of the sources that this program was built from; written by scripts/write_version.cmake at every build.
std::string version();  // "0.1.0"
std::string commit();   // "3937e3d", "3937e3d-dirty" with changes beside it, "unknown" outside a repository

}  // namespace engram
