#include "data/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "data/json_depth.h"
#include "kernels/core/check.h"

namespace engram {
namespace {

using Json = nlohmann::ordered_json;

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr int64_t kLengthBytes = 8;
constexpr int64_t kMostHeaderBytes = 100'000'000;
constexpr const char* kMetadataKey = "__metadata__";
constexpr std::array<std::pair<DType, const char*>, 6> kNames{{{DType::kFloat64, "F64"},
                                                               {DType::kFloat32, "F32"},
                                                               {DType::kBFloat16, "BF16"},
                                                               {DType::kInt64, "I64"},
                                                               {DType::kInt32, "I32"},
                                                               {DType::kUInt8, "U8"}}};

const char* name_in_file(DType dtype) {
  return std::ranges::find(kNames, dtype, &std::pair<DType, const char*>::first)->second;
}

DType dtype_of_name(const std::string& name) {
  const auto found = std::ranges::find_if(kNames, [&](const auto& pair) { return name == pair.second; });
  ENGRAM_CHECK(found != kNames.end(), "dtype \"", name, "\" is not read; wanted F64, F32, BF16, I64, I32 or U8");
  return found->first;
}

// Parses the header; of two equal keys of an object the library would keep one silently.
Json parse_header(const std::string& text) {
  std::vector<std::set<std::string>> keys;
  const auto check_keys = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto key = parsed.get<std::string>();
      ENGRAM_CHECK(keys.back().insert(key).second, "the key \"", key, "\" is there twice");
    }
    return JsonDepth()(depth);
  };
  ENGRAM_CHECK(text.starts_with('{'), "the header is no JSON object");
  return Json::parse(text, check_keys);
}

int64_t as_size(const Json& number) {
  ENGRAM_CHECK(number.is_number_unsigned() && number.get<uint64_t>() <= std::numeric_limits<int64_t>::max(), "got ",
               number.dump(), ", wanted an integer from 0 on");
  return number.get<int64_t>();
}

// Throws where the product of the sizes is no int64_t.
int64_t bytes_of(DType dtype, const std::vector<int64_t>& shape) {
  int64_t num_bytes = size_of(dtype);
  for (const int64_t size : shape) {
    ENGRAM_CHECK(!__builtin_mul_overflow(num_bytes, size, &num_bytes), "its shape has too many elements");
  }
  return num_bytes;
}

SafetensorsEntry parse_entry(const std::string& name, const Json& json) {
  SafetensorsEntry entry{.name = name, .dtype = dtype_of_name(json.at("dtype").get<std::string>()), .shape = {}};
  for (const Json& size : json.at("shape")) entry.shape.push_back(as_size(size));
  const Json& offsets = json.at("data_offsets");
  ENGRAM_CHECK(json.size() == 3 && offsets.is_array() && offsets.size() == 2, "got ", json.dump(),
               ", wanted dtype, shape and two data_offsets");
  entry.offset = as_size(offsets[0]);
  const int64_t end = as_size(offsets[1]), num_bytes = bytes_of(entry.dtype, entry.shape);
  ENGRAM_CHECK(entry.offset <= end && end - entry.offset == num_bytes, "data_offsets are ", entry.offset, " and ", end,
               ", its shape has ", num_bytes, " bytes");
  return entry;
}

// The tensors must lie one after the other, from the first byte to the last.
void check_layout(const std::vector<SafetensorsEntry>& entries, int64_t num_bytes) {
  int64_t end = 0;
  for (const SafetensorsEntry& entry : entries) {
    ENGRAM_CHECK(entry.offset == end, "tensor ", entry.name, " begins at byte ", entry.offset,
                 ", the one before ends at ", end);
    end += entry.num_bytes();
  }
  ENGRAM_CHECK(end == num_bytes, "the tensors have ", end, " bytes, the file has ", num_bytes, " after its header");
}

}  // namespace

int64_t SafetensorsEntry::num_bytes() const { return bytes_of(dtype, shape); }

SafetensorsWriter::SafetensorsWriter(std::string path, const std::vector<SafetensorsEntry>& entries,
                                     const SafetensorsMetadata& metadata)
    : path_(std::move(path)), file_(path_, std::ios::binary) {
  ENGRAM_CHECK_AS(IoError, file_.good(), path_, ": cannot be opened for writing");
  Json header = Json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  for (const SafetensorsEntry& entry : entries) {
    ENGRAM_CHECK(!header.contains(entry.name), path_, ": two tensors named ", entry.name);
    const int64_t end = bytes_left_ + entry.num_bytes();
    header[entry.name] = {
        {"dtype", name_in_file(entry.dtype)}, {"shape", entry.shape}, {"data_offsets", {bytes_left_, end}}};
    bytes_left_ = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + kLengthBytes - 1) / kLengthBytes * kLengthBytes, ' ');  // tensors begin aligned
  const uint64_t length = text.size();
  file_.write(reinterpret_cast<const char*>(&length), kLengthBytes);
  file_ << text;
}

void SafetensorsWriter::append(std::span<const std::byte> bytes) {
  bytes_left_ -= std::ssize(bytes);
  assert(bytes_left_ >= 0);  // more than the header says
  file_.write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
}

void SafetensorsWriter::close() {
  assert(bytes_left_ == 0);  // less than the header says
  file_.close();
  ENGRAM_CHECK_AS(IoError, file_.good(), path_, ": could not be written to its end");
}

SafetensorsReader::SafetensorsReader(std::string path) : path_(std::move(path)), file_(path_, std::ios::binary) {
  ENGRAM_CHECK(file_.good() && std::filesystem::is_regular_file(path_), path_, ": cannot be read");
  const auto file_bytes = static_cast<int64_t>(std::filesystem::file_size(path_));
  uint64_t length = 0;
  file_.read(reinterpret_cast<char*>(&length), kLengthBytes);
  const int64_t most = std::min(file_bytes - kLengthBytes, kMostHeaderBytes);
  ENGRAM_CHECK(file_.good() && most > 0 && length <= static_cast<uint64_t>(most), path_, ": a header of ", length,
               " bytes in a file of ", file_bytes, "; wanted at most ", std::max<int64_t>(most, 0));
  std::string text(length, '\0'), name;
  file_.read(text.data(), static_cast<std::streamsize>(length));
  data_begin_ = kLengthBytes + static_cast<int64_t>(length);
  try {
    const Json header = parse_header(text);
    for (const auto& [key, value] : header.items()) {
      name = key;
      if (key == kMetadataKey)
        metadata_ = value.get<SafetensorsMetadata>();
      else
        entries_.push_back(parse_entry(key, value));
    }
    name.clear();
    std::ranges::stable_sort(entries_, {},
                             [](const SafetensorsEntry& e) { return std::pair(e.offset, e.num_bytes()); });
    check_layout(entries_, file_bytes - data_begin_);
  } catch (const std::exception& error) {
    ENGRAM_FAIL(path_, ": ", name.empty() ? "" : name + ": ", error.what());
  }
}

void SafetensorsReader::read(const SafetensorsEntry& entry, int64_t first, std::span<std::byte> bytes) {
  assert(first >= 0 && first + std::ssize(bytes) <= entry.num_bytes());
  file_.seekg(data_begin_ + entry.offset + first);
  file_.read(reinterpret_cast<char*>(bytes.data()), std::ssize(bytes));
  ENGRAM_CHECK_AS(IoError, file_.good(), path_, ": tensor ", entry.name, " cannot be read");
}

}  // namespace engram
