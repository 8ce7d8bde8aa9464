#pragma once

#include <string>

namespace engram {

// A library of which this program was built with one copy and has found one to run with; they may differ.
struct LibraryVersion {
  std::string name;
  std::string built, found;  // as "4.1.4"; "" where it cannot be told
};

// With the first number of the form 1.2 or 1.2.3 in each text.
LibraryVersion library_version(const std::string& name, const std::string& built, const std::string& found);

}  // namespace engram
