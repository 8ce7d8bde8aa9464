#include "trainer/export_reader.h"

#include <algorithm>
#include <cassert>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/core/check.h"
#include "trainer/export_layout.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

using Json = nlohmann::ordered_json;

// The files that an index names, in ascending order.
std::set<std::string> files_of_index(const std::string& path) {
  try {
    std::ifstream file(path, std::ios::binary);
    std::set<std::string> names;
    const Json index = Json::parse(file);
    for (const Json& name : index.at("weight_map")) names.insert(name.get<std::string>());
    for (const std::string& name : names) {
      ENGRAM_CHECK(fs::path(name).filename() == name && !name.empty(), path, ": names the file \"", name,
                   "\"; wanted one beside it");
    }
    return names;
  } catch (const Json::exception& error) {
    ENGRAM_FAIL(path, ": is no index of safetensors: ", error.what());
  }
}

}  // namespace

ExportReader::ExportReader(const std::string& directory) {
  const std::string index = directory + "/" + kExportIndexName;
  if (fs::exists(index)) {
    for (const std::string& name : files_of_index(index)) add_file(directory + "/" + name);
  } else {
    add_file(directory + "/" + kExportSingleName);
  }
}

void ExportReader::add_file(const std::string& path) {
  const SafetensorsReader& file = files_.emplace_back(path);
  for (const SafetensorsEntry& entry : file.entries()) {
    const bool is_new = tensors_.emplace(entry.name, entry).second;
    ENGRAM_CHECK(is_new, path, ": ", entry.name, " is in another file too");
    file_of_[entry.name] = files_.size() - 1;
  }
}

void ExportReader::read(const std::string& name, int64_t first, std::span<float> values) {
  const SafetensorsEntry& entry = tensors_.at(name);
  SafetensorsReader& file = files_[file_of_.at(name)];
  if (entry.dtype == DType::kFloat32) {
    file.read(entry, first * size_of(DType::kFloat32), std::as_writable_bytes(values));
    return;
  }
  assert(entry.dtype == DType::kBFloat16);
  std::vector<bfloat16> narrow(values.size());
  file.read(entry, first * size_of(DType::kBFloat16), std::as_writable_bytes(std::span(narrow)));
  std::ranges::transform(narrow, values.begin(), [](bfloat16 value) { return static_cast<float>(value); });
}

}  // namespace engram
