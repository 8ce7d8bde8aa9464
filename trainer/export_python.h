#pragma once

#include <string>
#include <utility>
#include <vector>

namespace engram {

// Names and texts of scripts/export/*.py, with which transformers runs an export; part of the program.
std::vector<std::pair<std::string, std::string>> export_python_files();

}  // namespace engram
