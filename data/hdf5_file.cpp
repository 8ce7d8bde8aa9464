#include "data/hdf5_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "data/hdf5_handle.h"
#include "kernels/core/check.h"

namespace engram {

using hdf5::check;
using hdf5::Handle;
using hdf5::Place;
using hdf5::Session;

const char* name_of(FileType type) {
  switch (type) {
    case FileType::kFloat32:
      return "float32";
    case FileType::kFloat64:
      return "float64";
    case FileType::kBFloat16:
      return "bfloat16";
    case FileType::kInt32:
      return "int32";
    case FileType::kInt64:
      return "int64";
    case FileType::kUInt8:
      return "uint8";
    case FileType::kUInt16:
      return "uint16";
    case FileType::kUInt32:
      return "uint32";
    case FileType::kUInt64:
      return "uint64";
  }
  return "unknown";
}

int64_t size_of(FileType type) {
  switch (type) {
    case FileType::kFloat64:
    case FileType::kInt64:
    case FileType::kUInt64:
      return 8;
    case FileType::kFloat32:
    case FileType::kInt32:
    case FileType::kUInt32:
      return 4;
    case FileType::kBFloat16:
    case FileType::kUInt16:
      return 2;
    case FileType::kUInt8:
      return 1;
  }
  return 0;
}

FileType file_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return FileType::kFloat32;
    case DType::kFloat64:
      return FileType::kFloat64;
    case DType::kBFloat16:
      return FileType::kBFloat16;
    case DType::kInt32:
      return FileType::kInt32;
    case DType::kInt64:
      return FileType::kInt64;
    case DType::kUInt8:
      return FileType::kUInt8;
  }
  ENGRAM_FAIL("hdf5: dtype ", static_cast<int>(dtype), " has no file type");
}

namespace {

Handle property_list(hid_t kind, const Place& place) {
  return {H5Pcreate(kind), H5Pclose, place, "making a property list"};
}

Handle create_file(const std::string& path, int64_t user_block_bytes) {
  const Place place{path, "", true};
  const Handle creation = property_list(H5P_FILE_CREATE, place);
  check(H5Pset_obj_track_times(creation, false), place, "leaving out time stamps");
  check(H5Pset_userblock(creation, static_cast<hsize_t>(user_block_bytes)), place, "leaving room");
  const Handle access = property_list(H5P_FILE_ACCESS, place);
  check(H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110), place, "choosing the format");
  return {H5Fcreate(path.c_str(), H5F_ACC_EXCL, creation, access), H5Fclose, place, "creating the file"};
}

// A chunk of at most chunk_bytes: the last axes whole, as far as they fit, the next cut in equal parts. The last chunk
// of a dataset is stored whole, so unequal ones would store up to a chunk of nothing.
std::vector<hsize_t> chunk_shape(std::span<const int64_t> shape, int64_t element_bytes, int64_t chunk_bytes) {
  std::vector<hsize_t> chunk(shape.size(), 1);
  int64_t left = std::max<int64_t>(1, chunk_bytes / element_bytes);
  for (size_t axis = shape.size(); axis-- > 0;) {
    const int64_t num_parts = (shape[axis] + left - 1) / left;
    chunk[axis] = static_cast<hsize_t>((shape[axis] + num_parts - 1) / num_parts);
    left = std::max<int64_t>(1, left / shape[axis]);
  }
  return chunk;
}

// A dataset without elements has no chunks, hence no checksum either.
Handle dataset_properties(const std::vector<int64_t>& shape, FileType type, int64_t chunk_bytes, const Place& place) {
  Handle list = property_list(H5P_DATASET_CREATE, place);
  check(H5Pset_obj_track_times(list, false), place, "leaving out time stamps");
  if (hdf5::num_elements(shape) == 0) return list;
  if (chunk_bytes == kInOnePiece) {
    check(H5Pset_fill_time(list, H5D_FILL_TIME_NEVER), place, "leaving out a fill value");
    return list;
  }
  const std::vector<hsize_t> chunk = chunk_shape(shape, size_of(type), chunk_bytes);
  check(H5Pset_chunk(list, static_cast<int>(chunk.size()), chunk.data()), place, "choosing a chunk");
  check(H5Pset_fletcher32(list), place, "asking for checksums");
  return list;
}

// Room for a few chunks, so that rows that end in mid-chunk are not written and read back each time.
Handle dataset_access(int64_t chunk_bytes, const Place& place) {
  Handle list = property_list(H5P_DATASET_ACCESS, place);
  constexpr size_t kNumSlots = 521;  // a prime, as the library advises
  check(H5Pset_chunk_cache(list, kNumSlots, static_cast<size_t>(4 * chunk_bytes), 1.0), place, "sizing the cache");
  return list;
}

// The groups of "a/b/name": made one by one, because those the library makes itself carry time stamps.
void create_groups(hid_t file, const Place& place) {
  for (size_t slash = place.name.find('/'); slash != std::string::npos; slash = place.name.find('/', slash + 1)) {
    const std::string group(place.name.substr(0, slash));
    if (check(H5Lexists(file, group.c_str(), H5P_DEFAULT), place, "looking for its group") > 0) continue;
    const Handle creation = property_list(H5P_GROUP_CREATE, place);
    check(H5Pset_obj_track_times(creation, false), place, "leaving out time stamps");
    const Handle made(H5Gcreate2(file, group.c_str(), H5P_DEFAULT, creation, H5P_DEFAULT), H5Gclose, place,
                      "making its group");
  }
}

void write_attribute(hid_t object, const std::string& key, hid_t type, const void* value, const Place& place) {
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose, place, "making a data space");
  const Handle attribute(H5Acreate2(object, key.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose, place,
                         "creating attribute " + key);
  check(H5Awrite(attribute, type, value), place, "writing attribute " + key);
}

// Fixed length, padded by zero bytes; HDF5 has no strings of length 0.
void write_text(hid_t object, const std::string& key, const std::string& value, const Place& place) {
  const Handle type(H5Tcopy(H5T_C_S1), H5Tclose, place, "making a string type");
  check(H5Tset_size(type, std::max<size_t>(1, value.size())), place, "sizing a string");
  check(H5Tset_strpad(type, H5T_STR_NULLPAD), place, "padding a string");
  check(H5Tset_cset(type, H5T_CSET_UTF8), place, "choosing UTF-8");
  write_attribute(object, key, type, value.c_str(), place);
}

}  // namespace

struct Hdf5Writer::State {
  struct Dataset {
    DatasetInfo info;
    Handle handle;  // none once the last rows are written: an open dataset keeps chunks in memory
  };
  std::string path;
  Handle file;
  std::map<std::string, Dataset> datasets;

  hid_t object(const std::string& name) {
    if (name.empty()) return file;
    return dataset(name).handle;
  }
  // Open.
  Dataset& dataset(const std::string& name) {
    const auto found = datasets.find(name);
    ENGRAM_CHECK(found != datasets.end(), path, ": ", name, ": no such dataset was created");
    Handle& handle = found->second.handle;
    if (handle < 0) {
      handle = {H5Dopen2(file, name.c_str(), H5P_DEFAULT), H5Dclose, Place{path, name}, "opening the dataset again"};
    }
    return found->second;
  }
};

Hdf5Writer::Hdf5Writer(std::string path, int64_t user_block_bytes) {
  const Session session;
  Handle file = create_file(path, user_block_bytes);
  state_ = std::make_unique<State>();
  state_->path = std::move(path);
  state_->file = std::move(file);
}

Hdf5Writer::~Hdf5Writer() {
  const Session session;
  state_.reset();
}

void Hdf5Writer::create_dataset(const std::string& name, FileType type, std::span<const int64_t> shape,
                                int64_t chunk_bytes) {
  const Session session;
  const Place place{state_->path, name, true};
  ENGRAM_CHECK(!name.empty() && name.front() != '/' && name.back() != '/', state_->path, ": \"", name,
               "\" is no name of a dataset");
  ENGRAM_CHECK(!shape.empty() && shape.size() <= Tensor::kMaxRank, state_->path, ": ", name, ": rank ", shape.size(),
               "; wanted 1 to ", Tensor::kMaxRank);
  const DatasetInfo info{.type = type, .shape = {shape.begin(), shape.end()}};
  create_groups(state_->file, place);
  const Handle space = hdf5::make_space(info.shape, place);
  const Handle creation = dataset_properties(info.shape, type, chunk_bytes, place);
  const Handle access = dataset_access(chunk_bytes, place);
  Handle dataset(H5Dcreate2(state_->file, name.c_str(), hdf5::library_type(type), space, H5P_DEFAULT, creation, access),
                 H5Dclose, place, "creating the dataset");
  if (type == FileType::kBFloat16) write_text(dataset, "dtype", name_of(type), place);
  state_->datasets.emplace(name, State::Dataset{info, std::move(dataset)});
}

void Hdf5Writer::write_rows(const std::string& name, int64_t first_row, const FileSource& rows) {
  const Session session;
  const Place place{state_->path, name, true};
  State::Dataset& dataset = state_->dataset(name);
  hdf5::check_rows(dataset.info, rows.type, rows.shape, first_row, place);
  if (hdf5::num_elements(rows.shape) == 0) return;
  const Handle in_file = hdf5::select_rows(dataset.handle, first_row, rows.shape, place);
  const Handle in_memory = hdf5::make_space(rows.shape, place);
  check(H5Dwrite(dataset.handle, hdf5::library_type(rows.type), in_memory, in_file, H5P_DEFAULT, rows.data), place,
        "writing rows");
  const bool is_last = first_row + rows.shape[0] == dataset.info.shape[0];
  if (is_last && !dataset.handle.close()) hdf5::fail(place, "closing the dataset");
}

void Hdf5Writer::write_dataset(const std::string& name, const FileSource& values) {
  create_dataset(name, values.type, values.shape);
  write_rows(name, 0, values);
}

void Hdf5Writer::set_attribute(const std::string& name, const std::string& key, int64_t value) {
  const Session session;
  write_attribute(state_->object(name), key, H5T_STD_I64LE, &value, {state_->path, name, true});
}

void Hdf5Writer::set_attribute(const std::string& name, const std::string& key, const std::string& value) {
  const Session session;
  write_text(state_->object(name), key, value, {state_->path, name, true});
}

void Hdf5Writer::close() {
  const Session session;
  const Place place{state_->path, "", true};
  for (auto& [name, dataset] : state_->datasets) {
    if (!dataset.handle.close()) hdf5::fail({state_->path, name, true}, "closing the dataset");
  }
  check(H5Fflush(state_->file, H5F_SCOPE_GLOBAL), place, "flushing the file");
  if (!state_->file.close()) hdf5::fail(place, "closing the file");
  state_->datasets.clear();
}

LibraryVersion hdf5_version() {
  const Session session;
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return library_version("HDF5", H5_VERS_INFO, fmt::format("{}.{}.{}", major, minor, release));
}

}  // namespace engram
