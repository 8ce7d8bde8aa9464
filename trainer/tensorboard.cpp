#include "trainer/tensorboard.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <concepts>
#include <cstdlib>
#include <filesystem>
#include <string_view>

namespace engram {
namespace {

constexpr std::string_view kPrefix = "events.out.tfevents.";

// Castagnoli's polynomial, bits reversed; zlib's crc32() is of another one.
constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < table.size(); ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0x82F63B78u & (0u - (crc & 1)));
    table[byte] = crc;
  }
  return table;
}

uint32_t masked_crc(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = crc_table();
  uint32_t crc = ~uint32_t{0};
  for (const char c : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xFF];
  return std::rotr(~crc, 15) + 0xA282EAD8u;
}

// Little-endian.
template <std::unsigned_integral T>
std::string fixed(T value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(T); ++i) bytes += static_cast<char>(value >> (8 * i) & 0xFF);
  return bytes;
}

std::string record(std::string_view data) {
  const std::string length = fixed(static_cast<uint64_t>(data.size()));
  return length + fixed(masked_crc(length)) + std::string(data) + fixed(masked_crc(data));
}

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7F) | 0x80);
  return bytes + static_cast<char>(value);
}

// Fields of a message: a key of number and wire type, then the value.
std::string key(uint32_t number, uint32_t wire_type) { return varint(number << 3 | wire_type); }
std::string field(uint32_t number, int64_t value) { return key(number, 0) + varint(static_cast<uint64_t>(value)); }
std::string field(uint32_t number, double value) { return key(number, 1) + fixed(std::bit_cast<uint64_t>(value)); }
std::string field(uint32_t number, float value) { return key(number, 5) + fixed(std::bit_cast<uint32_t>(value)); }
std::string field(uint32_t number, std::string_view value) {
  return key(number, 2) + varint(value.size()) + std::string(value);
}

// Fields with their default value are left out.
std::string event(int64_t step, const std::string& content) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  return record(field(1, now.count()) + (step == 0 ? "" : field(2, step)) + content);
}
std::string file_version() { return field(3, std::string_view("brain.Event:2")); }
std::string summary(std::string_view values) { return field(5, values); }
std::string session_start() { return field(7, std::string_view(field(1, int64_t{1}))); }
std::string value(std::string_view tag, float number) {
  return field(1, std::string_view(field(1, tag) + field(2, number)));
}

// Names sort as they were begun: by the time, or after the last one where the clock says an earlier time.
std::string next_path(const std::string& directory) {
  int64_t number = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    const int64_t known = name.starts_with(kPrefix) ? std::atoll(name.c_str() + kPrefix.size()) : 0;
    number = std::max(number, known + 1);
  }
  return fmt::format("{}/{}{:010}", directory, kPrefix, number);
}

}  // namespace

TensorBoardFile::TensorBoardFile(const std::string& directory, int64_t step) : file_(next_path(directory)) {
  file_.append(event(0, file_version()) + event(step + 1, session_start()));
}

void TensorBoardFile::write(int64_t step, const Scalars& scalars) {
  std::string values;
  for (const auto& [tag, number] : scalars) {
    if (std::isfinite(number)) values += value(tag, static_cast<float>(number));
  }
  if (!values.empty()) file_.append(event(step, summary(values)));
}

}  // namespace engram
