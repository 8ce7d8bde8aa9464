#pragma once

#include <hdf5.h>

#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "data/hdf5_file.h"

// What hdf5_file.cpp and hdf5_reader.cpp share; nobody else includes this.
namespace engram::hdf5 {

// Held for the length of every call: keeps other threads out of the library, and the library from printing.
class Session {
 public:
  Session();

 private:
  std::unique_lock<std::mutex> lock_;
};

// Where an operation happened; the name is empty for the file itself.
struct Place {
  std::string_view path, name;
  bool is_written = false;
};

// Throws Error, or IoError where the file is being written or the system refuses to read one that is there, "path:
// dataset name: action failed" with HDF5's own messages below.
[[noreturn]] void fail(const Place& place, std::string_view action);

// The result, unless HDF5 reports failure by a negative one.
template <class Result>
Result check(Result result, const Place& place, std::string_view action) {
  if (result < 0) fail(place, action);
  return result;
}

// An identifier of the library with the function that closes it.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);

  Handle() = default;
  Handle(hid_t id, Close close_function, const Place& place, std::string_view action)
      : id_(check(id, place, action)), close_(close_function) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }

  operator hid_t() const { return id_; }
  // Closes now; true where the library could.
  bool close() { return id_ < 0 || close_(std::exchange(id_, -1)) >= 0; }

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

// The library's type of a file type: what lies in the file and, this being a little-endian program, in memory.
hid_t library_type(FileType type);

// Rows [first_row, first_row + shape[0]) of an open dataset, all elements of the other axes.
Handle select_rows(hid_t dataset, int64_t first_row, const std::vector<int64_t>& shape, const Place& place);
// Data space of the shape.
Handle make_space(const std::vector<int64_t>& shape, const Place& place);

// "[2, 3]", and the element count.
std::string shape_text(const std::vector<int64_t>& shape);
int64_t num_elements(const std::vector<int64_t>& shape);

// Throws Error unless rows of `shape` and `type` from first_row on lie within the dataset.
void check_rows(const DatasetInfo& dataset, FileType type, const std::vector<int64_t>& shape, int64_t first_row,
                const Place& place);

}  // namespace engram::hdf5
