#include "data/safetensors.h"

#include <cstring>

#include "tests/data/deep_json.h"
#include "tests/data/temporary_directory.h"
#include "tests/testing.h"

namespace engram {
namespace {

using test::TemporaryDirectory;

std::vector<std::byte> some_bytes(int64_t count) {
  std::vector<std::byte> bytes;
  for (int64_t i = 0; i < count; ++i) bytes.push_back(static_cast<std::byte>(7 * i + 1));
  return bytes;
}

// A file of the header and as many bytes after it.
void write_raw(const std::string& path, const std::string& header, int64_t num_bytes) {
  const uint64_t length = header.size();
  std::string text(8, '\0');
  std::memcpy(text.data(), &length, 8);
  test::write_file(path, text + header + std::string(static_cast<size_t>(num_bytes), 'x'));
}

std::string error_of_header(const std::string& header, int64_t num_bytes) {
  const TemporaryDirectory directory;
  write_raw(directory / "file", header, num_bytes);
  return test::error_of([&] { SafetensorsReader(directory / "file"); });
}

TEST(Safetensors, GivesBackWhatWasWritten) {
  const TemporaryDirectory directory;
  const std::vector<SafetensorsEntry> entries{{.name = "a.weight", .dtype = DType::kFloat32, .shape = {2, 3}},
                                              {.name = "none", .dtype = DType::kInt64, .shape = {0, 5}},
                                              {.name = "a \"name\"", .dtype = DType::kBFloat16, .shape = {7}},
                                              {.name = "scalar", .dtype = DType::kUInt8, .shape = {}}};
  const std::vector<std::byte> bytes = some_bytes(24 + 0 + 14 + 1);
  SafetensorsWriter writer(directory / "file", entries, {{"format", "pt"}});
  writer.append(std::span(bytes).first(5));
  writer.append(std::span(bytes).subspan(5));
  writer.close();

  SafetensorsReader reader(directory / "file");
  EXPECT_EQ(reader.metadata(), (SafetensorsMetadata{{"format", "pt"}}));
  ASSERT_EQ(reader.entries().size(), entries.size());
  int64_t offset = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    const SafetensorsEntry& entry = reader.entries()[i];
    EXPECT_EQ(entry.name, entries[i].name);
    EXPECT_EQ(entry.dtype, entries[i].dtype);
    EXPECT_EQ(entry.shape, entries[i].shape);
    EXPECT_EQ(entry.offset, offset);
    std::vector<std::byte> values(static_cast<size_t>(entry.num_bytes()));
    reader.read(entry, 0, values);
    EXPECT_TRUE(std::ranges::equal(values, std::span(bytes).subspan(static_cast<size_t>(offset), values.size())));
    offset += entry.num_bytes();
  }
  std::vector<std::byte> part(5);
  reader.read(reader.entries()[0], 9, part);
  EXPECT_TRUE(std::ranges::equal(part, std::span(bytes).subspan(9, 5)));
}

TEST(Safetensors, ADiskThatIsFullIsNoMatterOfTheData) {
  SafetensorsWriter writer("/dev/full", {{.name = "a", .shape = {1}}}, {});
  writer.append(some_bytes(4));
  EXPECT_THROW(writer.close(), IoError);
  EXPECT_THROW(SafetensorsWriter("/nowhere/file", {}, {}), IoError);
}

TEST(Safetensors, TensorsBeginAtAMultipleOf8) {
  for (int length = 1; length <= 9; ++length) {
    const TemporaryDirectory directory;
    SafetensorsWriter writer(directory / "file",
                             {{.name = std::string(static_cast<size_t>(length), 'n'), .shape = {1}}}, {});
    writer.append(some_bytes(4));
    writer.close();
    EXPECT_EQ((std::filesystem::file_size(directory / "file") - 4) % 8, 0) << length;
  }
}

TEST(Safetensors, RefusesTwoTensorsOfOneName) {
  const TemporaryDirectory directory;
  const std::string message = test::error_of([&] {
    SafetensorsWriter(directory / "file", {{.name = "a", .shape = {1}}, {.name = "a", .shape = {2}}}, {});
  });
  EXPECT_NE(message.find("two tensors named a"), std::string::npos) << message;
}

TEST(Safetensors, RefusesFilesWithoutAWholeHeader) {
  const TemporaryDirectory directory;
  const auto error = [&](const std::string& contents) {
    test::write_file(directory / "file", contents);
    return test::error_of([&] { SafetensorsReader(directory / "file"); });
  };
  for (const std::string& contents :
       {std::string(), std::string("\2\0\0", 3), std::string("\0\0\0\0\0\0\0\0", 8),
        std::string("\3\0\0\0\0\0\0\0{}", 10), std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10),
        std::string("\2\0\0\0\0\0\0\x80{}", 10)}) {
    EXPECT_NE(error(contents).find("a header of"), std::string::npos) << error(contents);
  }
  EXPECT_NE(test::error_of([&] { SafetensorsReader(directory / "nowhere"); }).find("cannot be read"),
            std::string::npos);
  EXPECT_NE(test::error_of([&] { SafetensorsReader(directory.path()); }).find("cannot be read"), std::string::npos);
}

TEST(Safetensors, RefusesHeadersThatDoNotFitTheFile) {
  const std::string a = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  EXPECT_EQ(error_of_header("{" + a + "}", 8), "");
  const struct {
    std::string header, words;
    int64_t num_bytes;
  } cases[] = {
      {"{" + a + "}", "the tensors have 8 bytes, the file has 9", 9},
      {"{" + a + "}", "the tensors have 8 bytes, the file has 7", 7},
      {"{" + a + "," + a + "}", "the key \"a\" is there twice", 8},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "the key \"dtype\" is there twice",
       8},
      {R"({"__metadata__":{"k":"1","k":"2"}})", "the key \"k\" is there twice", 0},
      {R"({"__metadata__":{"k":1}})", "__metadata__: ", 0},
      {"{" + a + R"(,"b":{"dtype":"U8","shape":[1],"data_offsets":[9,10]}})",
       "b begins at byte 9, the one before ends at 8", 10},
      {"{" + a + R"(,"b":{"dtype":"U8","shape":[1],"data_offsets":[7,8]}})",
       "b begins at byte 7, the one before ends at 8", 8},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,7]}})", "data_offsets are 0 and 7, its shape has 8 bytes",
       8},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", "data_offsets are 8 and 0", 8},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", "got -2, wanted an integer from 0 on", 8},
      {R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", "got 2.0, wanted an integer from 0 on", 8},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]}})", "wanted an integer from 0 on",
       8},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})", "too many elements", 8},
      {R"({"a":{"dtype":"F8","shape":[2],"data_offsets":[0,8]}})", "dtype \"F8\" is not read", 8},
      {R"({"a":{"dtype":"F32","shape":[2]}})", "a: ", 8},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1}})", "wanted dtype, shape and two data_offsets",
       8},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}})", "wanted dtype, shape and two data_offsets", 8},
      {R"({"a":[]})", "a: ", 8},
      {R"([])", "the header is no JSON object", 0},
      {R"({"a":)", "parse error", 0},
      {R"({"a":{"dtype":"F32","shape":)" + test::deep_json() + "}}", "nested deeper than 64 levels", 0},
  };
  for (const auto& c : cases) {
    const std::string message = error_of_header(c.header, c.num_bytes);
    EXPECT_NE(message.find(c.words), std::string::npos) << c.header << "\n" << message;
    EXPECT_NE(message.find("/file: "), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace engram
