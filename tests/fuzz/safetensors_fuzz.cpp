#include "data/safetensors.h"

#include <algorithm>

#include "tests/data/temporary_directory.h"
#include "tests/fuzz/fuzz.h"
#include "trainer/config.h"
#include "trainer/export_layout.h"
#include "trainer/export_reader.h"

// A directory of weights as `checkpoint import` and run.init_from read it, of which the input is one file. Its first
// byte says which: s, a safetensors file; h, the header of one that is as long as it says; i, an index of two files
// that are good; c, config.json. What is taken can be read to its end, and is the same when it was written again.
namespace engram::fuzz {
namespace {

constexpr size_t kNumDataBytes = 64;  // behind a header

using test::TemporaryDirectory;

// Every byte of the tensors of a file, one after the other.
std::vector<std::byte> contents_of(SafetensorsReader& file) {
  std::vector<std::byte> all;
  for (const SafetensorsEntry& entry : file.entries()) {
    std::vector<std::byte> bytes(static_cast<size_t>(entry.num_bytes()));
    file.read(entry, 0, bytes);
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  return all;
}

bool are_same(const SafetensorsEntry& a, const SafetensorsEntry& b) {
  return a.name == b.name && a.dtype == b.dtype && a.shape == b.shape && a.offset == b.offset;
}

void write_again(SafetensorsReader& file, const std::string& path) {
  const std::vector<std::byte> contents = contents_of(file);
  SafetensorsWriter writer(path, file.entries(), file.metadata());
  writer.append(contents);
  writer.close();
  SafetensorsReader again(path);
  must_hold(std::ranges::equal(file.entries(), again.entries(), are_same), "tensors are written as they were");
  must_hold(again.metadata() == file.metadata(), "metadata are written as they were");
  must_hold(contents_of(again) == contents, "bytes are written as they were");
}

bool reads_export(const TemporaryDirectory& directory) {
  return accepts([&] {
    ExportReader reader(directory.path());
    for (const auto& [name, entry] : reader.tensors()) {
      if (entry.dtype != DType::kFloat32 && entry.dtype != DType::kBFloat16) continue;
      std::vector<float> values(static_cast<size_t>(entry.num_bytes() / size_of(entry.dtype)));
      reader.read(name, 0, values);
    }
  });
}

bool reads_file(const std::string& contents) {
  static const TemporaryDirectory kDirectory;
  const std::string path = kDirectory / kExportSingleName;
  test::write_file(path, contents);
  if (!reads_export(kDirectory)) return false;
  SafetensorsReader file(path);
  write_again(file, kDirectory / "again");
  return true;
}

std::string with_length(std::string_view header) {
  const uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof(length));
  return file.append(header).append(kNumDataBytes, '\x3f');
}

bool reads_index(std::string_view index) {
  static const TemporaryDirectory kDirectory;
  for (const char* name : {"a", "b"}) {
    SafetensorsWriter writer(kDirectory / name, {{.name = name, .dtype = DType::kUInt8, .shape = {1}}}, {});
    writer.append(std::array{std::byte{7}});
    writer.close();
  }
  test::write_file(kDirectory / kExportIndexName, std::string(index));
  return reads_export(kDirectory);
}

bool reads_config(std::string_view text) {
  static const TemporaryDirectory kDirectory;
  const std::string path = kDirectory / kExportConfigName;
  test::write_file(path, std::string(text));
  ExportConfig config;
  bool is_taken = false;
  accepts<ConfigError>([&] { is_taken = accepts([&] { config = read_export_config(kDirectory.path()); }); });
  if (!is_taken || config.run.model.engram.enabled()) return is_taken;  // tables may have more rows than there is time
  const std::string printed = print_export_config(config);
  test::write_file(path, printed);
  must_hold(print_export_config(read_export_config(kDirectory.path())) == printed, "a printed configuration is read");
  return true;
}

}  // namespace

bool reads(std::string_view input) {
  const char file = input.empty() ? 's' : input[0];
  const std::string_view contents = input.substr(std::min<size_t>(1, input.size()));
  if (file == 'c') return reads_config(contents);
  if (file == 'i') return reads_index(contents);
  return reads_file(file == 'h' ? with_length(contents) : std::string(contents));
}

}  // namespace engram::fuzz
