#include "data/hdf5_file.h"

#include <hdf5.h>

#include <thread>

#include "tests/data/temporary_directory.h"
#include "tests/testing.h"

// libhdf5 1.10 leaks a little whenever it refuses a damaged file; leaks of our own still count.
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

namespace engram {
namespace {

using test::error_of;
using ::testing::Test;

template <class T>
std::vector<T> counting(int64_t count) {
  std::vector<T> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<T>(3 * i + 1);
  return values;
}

struct Hdf5FileTest : Test {
  test::TemporaryDirectory directory;
  const std::string path = directory / "a.h5";

  template <class T>
  void expect_round_trip(const std::string& name, int64_t count) {
    const auto values = counting<T>(count);
    {
      Hdf5Writer writer(path);
      writer.write_dataset(name, std::span(values));
      writer.close();
    }
    const Hdf5Reader reader(path);
    EXPECT_EQ(reader.dataset_names(), std::vector<std::string>{name});
    EXPECT_EQ(reader.dataset_info(name).type, file_type_of<T>());
    std::vector<T> got(values.size(), T(9));
    reader.read_dataset(name, std::span(got));
    EXPECT_EQ(got, values);
    std::filesystem::remove(path);
  }
};

TEST_F(Hdf5FileTest, EveryTypeComesBack) {
  for (const int64_t count : {0, 1, 7, 1000, 700001}) {
    expect_round_trip<float>("f", count);
    expect_round_trip<double>("d", count);
    expect_round_trip<int32_t>("i", count);
    expect_round_trip<int64_t>("groups/deep/l", count);
    expect_round_trip<uint8_t>("b", count);
    expect_round_trip<uint16_t>("s", count);
    expect_round_trip<uint32_t>("u", count);
    expect_round_trip<uint64_t>("ul", count);
  }
}

TEST_F(Hdf5FileTest, TensorsOfEveryRankComeBackAsBits) {
  Arena arena(Device::kCpu, 1 << 20, true);
  const Tensor flat = test::random_tensor<double>(arena, 1, {2 * 3 * 5 * 7});
  const Tensor half = arena.take("half", DType::kBFloat16, {7, 3});
  for (size_t i = 0; i < 21; ++i) host_span<bfloat16>(half)[i] = bfloat16(static_cast<float>(i) / 3);
  const std::vector<Tensor> tensors{flat, flat.reshape({70, 3}), flat.reshape({2, 15, 7}), flat.reshape({2, 3, 5, 7}),
                                    half};
  {
    Hdf5Writer writer(path);
    for (size_t i = 0; i < tensors.size(); ++i) writer.write_dataset("t/" + std::to_string(i), tensors[i]);
    writer.close();
  }
  const Hdf5Reader reader(path);
  EXPECT_EQ(reader.dataset_info("t/4").type, FileType::kBFloat16);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor got = test::clone(arena, tensors[i]);
    std::memset(got.data, 0xff, static_cast<size_t>(got.num_bytes()));
    reader.read_dataset("t/" + std::to_string(i), got);
    EXPECT_TRUE(test::same_bits(got, tensors[i])) << i;
  }
}

TEST_F(Hdf5FileTest, ElementsInOnePieceAreWhereTheirOffsetSays) {
  const auto values = counting<uint16_t>(3000);
  for (const int64_t user_block : {0, 512, 4096}) {
    std::filesystem::remove(path);
    {
      Hdf5Writer writer(path, user_block);
      writer.create_dataset("x", FileType::kUInt16, std::vector<int64_t>{3000}, kInOnePiece);
      for (const int64_t first : {0, 1000, 2000}) {
        writer.write_rows("x", first, std::span(values).subspan(static_cast<size_t>(first), 1000));
      }
      writer.write_dataset("y", std::span<const uint16_t>(values));
      writer.close();
    }
    const Hdf5Reader reader(path, "x");
    std::vector<uint16_t> got(3000);
    reader.read_dataset("x", std::span(got));
    EXPECT_EQ(got, values);
    EXPECT_EQ(reader.dataset_info("y").offset, -1);
    const auto offset = static_cast<size_t>(reader.dataset_info("x").offset);
    EXPECT_EQ(std::memcmp(test::read_file(path).data() + offset, values.data(), 6000), 0);
  }
}

TEST_F(Hdf5FileTest, TheSystemsRefusalToReadIsTold) {
  std::filesystem::create_symlink(path, path);  // a link to itself: nobody may open it
  EXPECT_THROW(Hdf5Reader reader(path), IoError);
  std::filesystem::remove(path);
  try {
    Hdf5Reader reader(path);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const IoError& error) {
    ADD_FAILURE() << "a file that is not there is no refusal: " << error.what();
  } catch (const Error&) {
  }
}

TEST_F(Hdf5FileTest, SlicesOfRowsMeetChunkBordersAnywhere) {
  Arena arena(Device::kCpu, 1 << 20, true);
  const Tensor all = test::random_tensor<float>(arena, 1, {101, 13});
  {
    Hdf5Writer writer(path);
    writer.create_dataset("rows", FileType::kFloat32, all.shape(), 500);
    for (int64_t row = 0; row < 101; row += 7)
      writer.write_rows("rows", row, all.rows(row, std::min<int64_t>(7, 101 - row)));
    writer.close();
  }
  const Hdf5Reader reader(path);
  for (const auto& [first, count] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 101}, {5, 0}, {100, 1}, {3, 44}, {101, 0}}) {
    const Tensor got = arena.take("got", DType::kFloat32, {count, 13});
    reader.read_rows("rows", first, got);
    EXPECT_TRUE(test::same_bits(got, all.rows(first, count)));
  }
}

TEST_F(Hdf5FileTest, AttributesComeBack) {
  const std::string odd("\xc3\xa9\n\"");
  const std::string large(100000, 'x');  // beyond the 64 KiB of older formats
  {
    Hdf5Writer writer(path);
    writer.write_dataset("x", std::span<const float>());
    for (const std::string name : {"", "x"}) {
      writer.set_attribute(name, "lowest", INT64_MIN);
      writer.set_attribute(name, "empty", std::string());
      writer.set_attribute(name, "odd", odd);
      writer.set_attribute(name, "large", large);
    }
    writer.close();
  }
  const Hdf5Reader reader(path);
  for (const std::string name : {"", "x"}) {
    EXPECT_EQ(reader.int_attribute(name, "lowest"), INT64_MIN);
    EXPECT_EQ(reader.string_attribute(name, "empty"), "");
    EXPECT_EQ(reader.string_attribute(name, "odd"), odd);
    EXPECT_EQ(reader.string_attribute(name, "large"), large);
    EXPECT_TRUE(reader.has_attribute(name, "odd"));
    EXPECT_FALSE(reader.has_attribute(name, "none"));
  }
}

TEST_F(Hdf5FileTest, EqualContentsGiveEqualBytes) {
  const auto write = [&](const std::string& name) {
    const auto values = counting<uint16_t>(5000);
    Hdf5Writer writer(directory / name);
    writer.write_dataset("group/x", std::span(values));
    writer.set_attribute("group/x", "a", int64_t{5});
    writer.close();
    return test::read_file(directory / name);
  };
  const std::string first = write("1.h5");
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // time stamps count seconds
  EXPECT_EQ(first, write("2.h5"));
}

TEST_F(Hdf5FileTest, ThreadsMayReadAtOnce) {
  const auto values = counting<int64_t>(50000);
  {
    Hdf5Writer writer(path);
    writer.write_dataset("x", std::span(values));
    writer.close();
  }
  std::vector<int> equal(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < equal.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int repeat = 0; repeat < 10; ++repeat) {
        std::vector<int64_t> got(values.size());
        const std::string error = error_of([&] { Hdf5Reader(path).read_dataset("x", std::span(got)); });
        equal[i] += error.empty() && got == values;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, (std::vector<int>{10, 10, 10, 10}));
}

TEST_F(Hdf5FileTest, ErrorsNameFileDatasetAndCause) {
  const auto values = counting<float>(10);
  {
    Hdf5Writer writer(path);
    writer.write_dataset("x", std::span(values));
    EXPECT_NE(error_of([&] {
                writer.write_dataset("x", std::span(values));
              }).find("a.h5: x: creating the dataset failed\n    H5"),
              std::string::npos);
    EXPECT_NE(error_of([&] { writer.write_rows("y", 0, std::span(values)); }).find("a.h5: y: no such dataset"),
              std::string::npos);
    EXPECT_NE(error_of([&] { writer.write_rows("x", 1, std::span(values)); }).find("rows 1 to 11 of a dataset with 10"),
              std::string::npos);
    writer.close();
  }
  EXPECT_NE(error_of([&] { Hdf5Writer again(path); }).find("a.h5: creating the file failed\n    H5Fcreate: "),
            std::string::npos);
  EXPECT_NE(error_of([&] { Hdf5Reader none(directory / "none.h5"); }).find("No such file"), std::string::npos);

  const Hdf5Reader reader(path);
  std::vector<double> wrong_type(10);
  std::vector<float> too_short(9);
  EXPECT_NE(
      error_of([&] { reader.read_dataset("x", std::span(wrong_type)); }).find("memory is float64, the dataset float32"),
      std::string::npos);
  EXPECT_NE(
      error_of([&] { reader.read_dataset("x", std::span(too_short)); }).find("memory has shape [9], the dataset [10]"),
      std::string::npos);
  EXPECT_NE(error_of([&] { reader.dataset_info("/x"); }).find("/x: no such dataset"), std::string::npos);
  EXPECT_NE(error_of([&] { reader.int_attribute("x", "none"); }).find("opening attribute none failed\n    H5"),
            std::string::npos);
}

TEST_F(Hdf5FileTest, HalfWrittenDatasetIsRefused) {
  {
    const auto values = counting<float>(50);
    Hdf5Writer writer(path);
    writer.create_dataset("x", FileType::kFloat32, std::vector<int64_t>{100}, 100);
    writer.write_rows("x", 0, std::span(values));
    writer.close();
  }
  EXPECT_NE(error_of([&] { Hdf5Reader reader(path); }).find("x: holds 2 of 4 chunks"), std::string::npos);
}

TEST_F(Hdf5FileTest, FlippedAndTruncatedFilesAreRefusedOrUnharmed) {
  const auto values = counting<uint16_t>(3000);
  {
    Hdf5Writer writer(path);
    writer.write_dataset("group/x", std::span(values));
    writer.close();
  }
  const std::string bytes = test::read_file(path);
  const std::string broken = directory / "broken.h5";
  const auto read = [&](const std::string& contents) {
    test::write_file(broken, contents);
    return error_of([&] {
      std::vector<uint16_t> got(values.size());
      Hdf5Reader(broken).read_dataset("group/x", std::span(got));
      EXPECT_EQ(got, values);
    });
  };
  EXPECT_EQ(read(bytes), "");
  int num_refused = 0, num_tried = 0;
  for (size_t at = 0; at < bytes.size(); at += 13, ++num_tried) {
    std::string flipped = bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << at % 8));
    num_refused += !read(flipped).empty();
  }
  EXPECT_GT(num_refused, num_tried * 8 / 10);  // the rest hit bytes that carry nothing
  for (const size_t length : {size_t{0}, size_t{10}, bytes.size() / 2, bytes.size() - 1}) {
    EXPECT_NE(read(bytes.substr(0, length)), "") << length;
  }
}

// Files of other programs, with what ours never write.
struct ForeignHdf5FileTest : Hdf5FileTest {
  hid_t file = H5Fcreate(path.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT);
  hid_t properties = H5Pcreate(H5P_DATASET_CREATE);

  void add_dataset(const char* name, hid_t type = H5T_STD_I32LE) {
    const hsize_t size = 10;
    const hid_t space = H5Screate_simple(1, &size, nullptr);
    const hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    ASSERT_GE(dataset, 0);
    H5Dclose(dataset);
    H5Sclose(space);
  }
  std::string error_on_opening() {
    H5Pclose(properties);
    H5Fclose(file);
    return error_of([&] { Hdf5Reader reader(path); });
  }
};

// Only where the caller names the dataset, and then nothing else is allowed with it.
TEST_F(ForeignHdf5FileTest, OnePiece) {
  H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY);
  add_dataset("x");
  EXPECT_NE(error_on_opening().find("x: storage is not chunked"), std::string::npos);
  EXPECT_NE(error_of([&] { Hdf5Reader reader(path, "y"); }).find("x: storage is not chunked"), std::string::npos);
  const Hdf5Reader reader(path, "x");
  EXPECT_GT(reader.dataset_info("x").offset, 0);
}

TEST_F(ForeignHdf5FileTest, OnePieceThatIsNotThere) {
  add_dataset("x");
  error_on_opening();
  EXPECT_NE(error_of([&] { Hdf5Reader reader(path, "x"); }).find("x: its elements are not there"), std::string::npos);
}

TEST_F(ForeignHdf5FileTest, OnePieceElsewhere) {
  H5Pset_external(properties, "/etc/passwd", 0, H5F_UNLIMITED);
  add_dataset("x");
  error_on_opening();
  EXPECT_NE(error_of([&] { Hdf5Reader reader(path, "x"); }).find("x: external storage is refused"), std::string::npos);
}

TEST_F(ForeignHdf5FileTest, SoftLink) {
  H5Lcreate_soft("/x", file, "link", H5P_DEFAULT, H5P_DEFAULT);
  EXPECT_NE(error_on_opening().find("link: soft and external links are refused"), std::string::npos);
}

TEST_F(ForeignHdf5FileTest, ExternalLink) {
  H5Lcreate_external("/etc/passwd", "/x", file, "link", H5P_DEFAULT, H5P_DEFAULT);
  EXPECT_NE(error_on_opening().find("link: soft and external links are refused"), std::string::npos);
}

TEST_F(ForeignHdf5FileTest, ExternalStorage) {
  H5Pset_external(properties, "/etc/passwd", 0, H5F_UNLIMITED);
  add_dataset("x");
  EXPECT_NE(error_on_opening().find("x: external storage is refused"), std::string::npos);
}

TEST_F(ForeignHdf5FileTest, VirtualStorage) {
  const hsize_t size = 10;
  const hid_t space = H5Screate_simple(1, &size, nullptr);
  H5Pset_virtual(properties, space, "/other.h5", "x", space);
  H5Sclose(space);
  add_dataset("x");
  EXPECT_NE(error_on_opening().find("x: storage is not chunked"), std::string::npos);
}

TEST_F(ForeignHdf5FileTest, NoChecksum) {
  const hsize_t chunk = 5;
  H5Pset_chunk(properties, 1, &chunk);
  add_dataset("x");
  EXPECT_NE(error_on_opening().find("x: has no checksum"), std::string::npos);
}

TEST_F(ForeignHdf5FileTest, OtherFilter) {
  const hsize_t chunk = 5;
  H5Pset_chunk(properties, 1, &chunk);
  H5Pset_fletcher32(properties);
  H5Pset_nbit(properties);
  add_dataset("x");
  EXPECT_NE(error_on_opening().find("x: filter 5 is refused"), std::string::npos);
}

TEST_F(ForeignHdf5FileTest, OtherType) {
  add_dataset("x", H5T_STD_I32BE);
  EXPECT_NE(error_on_opening().find("x: elements are no little-endian number"), std::string::npos);
}

TEST_F(ForeignHdf5FileTest, NamedType) {
  const hid_t type = H5Tcopy(H5T_STD_I32LE);
  H5Tcommit2(file, "type", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  H5Tclose(type);
  EXPECT_NE(error_on_opening().find("type: is neither a dataset nor a group"), std::string::npos);
}

}  // namespace
}  // namespace engram
