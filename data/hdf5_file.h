#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/core/library_version.h"
#include "kernels/core/tensor.h"

namespace engram {

// The project's only door to HDF5: files of plain numeric datasets with string and integer attributes. Files are
// written once (under a temporary name, see AtomicFile), in the v110 format, chunked, with Fletcher32 and without time
// stamps, so that equal contents give equal bytes. Nothing else is read: links other than hard ones, external or
// virtual storage, datasets without Fletcher32, filters other than shuffle, Fletcher32 and deflate, and types outside
// FileType are refused. One dataset that its users name may lie in one piece instead, without chunks and Fletcher32.
// Calls may come from any thread; they run one at a time.
//
// Every failure is an Error that names file and dataset and ends with HDF5's own messages, indented.

// Little-endian element types of a dataset. bfloat16 is stored as uint16 with an attribute dtype = "bfloat16".
enum class FileType : uint8_t { kFloat32, kFloat64, kBFloat16, kInt32, kInt64, kUInt8, kUInt16, kUInt32, kUInt64 };
const char* name_of(FileType type);
int64_t size_of(FileType type);
FileType file_type(DType dtype);

template <class T>
FileType file_type_of() {
  if constexpr (std::is_same_v<T, uint16_t>)
    return FileType::kUInt16;
  else if constexpr (std::is_same_v<T, uint32_t>)
    return FileType::kUInt32;
  else if constexpr (std::is_same_v<T, uint64_t>)
    return FileType::kUInt64;
  else
    return file_type(dtype_of<T>);
}

// Row-major host memory of rank 1 to 4 that is written to or read from a dataset; converts from Tensor and span.
template <class Void>
struct BasicFileArray {
  Void* data = nullptr;
  FileType type = FileType::kUInt8;
  std::vector<int64_t> shape;

  BasicFileArray(const Tensor& tensor)  // NOLINT: implicit on purpose
      : data(tensor.data), type(file_type(tensor.dtype)), shape(tensor.shape().begin(), tensor.shape().end()) {}
  template <class T>
  BasicFileArray(std::span<T> values)  // NOLINT
      : data(values.data()), type(file_type_of<std::remove_const_t<T>>()), shape{static_cast<int64_t>(values.size())} {}
};
using FileSource = BasicFileArray<const void>;
using FileTarget = BasicFileArray<void>;

struct DatasetInfo {
  FileType type = FileType::kUInt8;
  std::vector<int64_t> shape;
  int64_t offset = -1;  // in the file, of elements that lie in one piece; else -1
};

// A chunk_bytes: no chunks and no checksums, the elements lie in one piece.
inline constexpr int64_t kInOnePiece = 0;

// Writes a new file. Names of datasets are paths ("layers/0/weight"); groups on the way are made. In attribute calls
// the name "" means the file itself.
class Hdf5Writer {
 public:
  // Throws Error where the file exists. The first user_block_bytes (0, or a power of 2 from 512 on) are left to the
  // caller.
  explicit Hdf5Writer(std::string path, int64_t user_block_bytes = 0);
  ~Hdf5Writer();

  // Declares a dataset; write_rows() fills it. chunk_bytes is the wanted size of a chunk, or kInOnePiece.
  void create_dataset(const std::string& name, FileType type, std::span<const int64_t> shape,
                      int64_t chunk_bytes = 1 << 20);
  // Rows [first_row, first_row + rows.shape[0]) along axis 0; the other axes whole.
  void write_rows(const std::string& name, int64_t first_row, const FileSource& rows);
  // create_dataset() of the array's shape and write_rows() of all of it.
  void write_dataset(const std::string& name, const FileSource& values);

  void set_attribute(const std::string& name, const std::string& key, int64_t value);
  void set_attribute(const std::string& name, const std::string& key, const std::string& value);

  // Flushes and closes; reports what a destructor could not. Syncing is AtomicFile's work.
  void close();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Reads an existing file.
class Hdf5Reader {
 public:
  // The dataset `in_one_piece` may be so; the caller has checksums of its own for it.
  explicit Hdf5Reader(std::string path, const std::string& in_one_piece = "");
  ~Hdf5Reader();
  Hdf5Reader(Hdf5Reader&&) noexcept;

  const std::string& path() const;
  // Full names of all datasets, in ascending order.
  std::vector<std::string> dataset_names() const;
  bool has_dataset(const std::string& name) const;
  DatasetInfo dataset_info(const std::string& name) const;

  // Rows [first_row, first_row + rows.shape[0]) along axis 0. Type and the other axes must be the dataset's.
  void read_rows(const std::string& name, int64_t first_row, const FileTarget& rows) const;
  // The whole dataset; type and shape must be the dataset's.
  void read_dataset(const std::string& name, const FileTarget& values) const;

  bool has_attribute(const std::string& name, const std::string& key) const;
  int64_t int_attribute(const std::string& name, const std::string& key) const;
  std::string string_attribute(const std::string& name, const std::string& key) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

LibraryVersion hdf5_version();

}  // namespace engram
