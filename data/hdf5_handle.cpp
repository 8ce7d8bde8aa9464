#include "data/hdf5_handle.h"

#include <bit>
#include <sstream>

#include "kernels/core/check.h"

namespace engram::hdf5 {
namespace {

static_assert(std::endian::native == std::endian::little);

// The library has one global state, hence one lock for all files.
std::mutex& library_mutex() {
  static std::mutex mutex;
  return mutex;
}

std::string describe(const Place& place) {
  std::string text(place.path);
  if (!place.name.empty()) text.append(": ").append(place.name);
  return text;
}

herr_t append_message(unsigned, const H5E_error2_t* error, void* text) {
  auto& lines = *static_cast<std::string*>(text);
  lines.append("\n    ").append(error->func_name).append(": ").append(error->desc);
  return 0;
}

// HDF5 quotes the system; 2: there is no such file.
bool is_refused(const std::string& message) {
  const size_t at = message.find("errno = ");
  return at != std::string::npos && message.compare(at, 10, "errno = 2,") != 0;
}

}  // namespace

Session::Session() : lock_(library_mutex()) {
  // Handles close everything. At exit the library would try again where that failed (a full disk), and crash.
  [[maybe_unused]] static const herr_t no_exit_handler = H5dont_atexit();
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  H5PLset_loading_state(0);  // no filter plug-ins out of a file's wishes
}

void fail(const Place& place, std::string_view action) {
  std::string message = describe(place);
  message.append(": ").append(action).append(" failed");
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, append_message, &message);
  if (place.is_written || is_refused(message)) throw IoError(message);
  throw Error(message);
}

hid_t library_type(FileType type) {
  switch (type) {
    case FileType::kFloat32:
      return H5T_IEEE_F32LE;
    case FileType::kFloat64:
      return H5T_IEEE_F64LE;
    case FileType::kInt32:
      return H5T_STD_I32LE;
    case FileType::kInt64:
      return H5T_STD_I64LE;
    case FileType::kUInt8:
      return H5T_STD_U8LE;
    case FileType::kBFloat16:
    case FileType::kUInt16:
      return H5T_STD_U16LE;
    case FileType::kUInt32:
      return H5T_STD_U32LE;
    case FileType::kUInt64:
      return H5T_STD_U64LE;
  }
  return -1;
}

Handle make_space(const std::vector<int64_t>& shape, const Place& place) {
  const std::vector<hsize_t> dims(shape.begin(), shape.end());
  return {H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose, place,
          "making a data space"};
}

Handle select_rows(hid_t dataset, int64_t first_row, const std::vector<int64_t>& shape, const Place& place) {
  Handle space(H5Dget_space(dataset), H5Sclose, place, "reading the data space");
  std::vector<hsize_t> start(shape.size(), 0);
  start[0] = static_cast<hsize_t>(first_row);
  const std::vector<hsize_t> count(shape.begin(), shape.end());
  check(H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr), place,
        "selecting rows");
  return space;
}

std::string shape_text(const std::vector<int64_t>& shape) { return to_string(std::span<const int64_t>(shape)); }

int64_t num_elements(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

void check_rows(const DatasetInfo& dataset, FileType type, const std::vector<int64_t>& shape, int64_t first_row,
                const Place& place) {
  ENGRAM_CHECK(dataset.type == type, describe(place), ": memory is ", name_of(type), ", the dataset ",
               name_of(dataset.type));
  ENGRAM_CHECK(
      shape.size() == dataset.shape.size() && std::equal(shape.begin() + 1, shape.end(), dataset.shape.begin() + 1),
      describe(place), ": rows have shape ", shape_text(shape), ", the dataset ", shape_text(dataset.shape));
  ENGRAM_CHECK(first_row >= 0 && shape[0] <= dataset.shape[0] && first_row <= dataset.shape[0] - shape[0],
               describe(place), ": rows ", first_row, " to ", first_row + shape[0], " of a dataset with ",
               dataset.shape[0]);
}

}  // namespace engram::hdf5
