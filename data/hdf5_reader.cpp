#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "data/hdf5_file.h"
#include "data/hdf5_handle.h"
#include "kernels/core/check.h"

namespace engram {

using hdf5::check;
using hdf5::Handle;
using hdf5::Place;
using hdf5::Session;

namespace {

using Datasets = std::map<std::string, DatasetInfo>;

Handle open_file(const std::string& path) {
  const Place place{path, ""};
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, place, "making a property list");
  // Files are never written in place, so locks guard nothing here and fail on some file systems.
  check(H5Pset_file_locking(access, false, true), place, "turning off file locks");
  return {H5Fopen(path.c_str(), H5F_ACC_RDONLY, access), H5Fclose, place, "opening the file"};
}

Handle open_attribute(hid_t object, const std::string& key, const Place& place) {
  return {H5Aopen(object, key.c_str(), H5P_DEFAULT), H5Aclose, place, "opening attribute " + key};
}

bool attribute_exists(hid_t object, const std::string& key, const Place& place) {
  return check(H5Aexists(object, key.c_str()), place, "looking for attribute " + key) > 0;
}

void check_scalar(hid_t attribute, const std::string& key, const Place& place) {
  const Handle space(H5Aget_space(attribute), H5Sclose, place, "reading attribute " + key);
  ENGRAM_CHECK(H5Sget_simple_extent_npoints(space) == 1, place.path, ": ", place.name, ": attribute ", key,
               " holds more than one value");
}

std::string read_text(hid_t object, const std::string& key, const Place& place) {
  const Handle attribute = open_attribute(object, key, place);
  check_scalar(attribute, key, place);
  const Handle type(H5Aget_type(attribute), H5Tclose, place, "reading the type of attribute " + key);
  constexpr size_t kMaxBytes = size_t{64} << 20;
  const size_t num_bytes = H5Tget_size(type);
  ENGRAM_CHECK(H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0 && num_bytes <= kMaxBytes, place.path,
               ": ", place.name, ": attribute ", key, " is no string of fixed length");
  std::string value(num_bytes, '\0');
  check(H5Aread(attribute, type, value.data()), place, "reading attribute " + key);
  value.resize(value.find_last_not_of('\0') + 1);
  return value;
}

// Every link of a file, gathered where no exception may be thrown.
struct Links {
  std::vector<std::string> names;
  std::optional<std::string> foreign;  // the first that is no hard link
};

herr_t visit_link(hid_t, const char* name, const H5L_info_t* info, void* data) {
  auto& links = *static_cast<Links*>(data);
  if (info->type == H5L_TYPE_HARD)
    links.names.emplace_back(name);
  else if (!links.foreign)
    links.foreign = name;
  return 0;
}

FileType stored_type(hid_t dataset, const Place& place) {
  const Handle type(H5Dget_type(dataset), H5Tclose, place, "reading the type");
  for (const FileType candidate : {FileType::kFloat32, FileType::kFloat64, FileType::kInt32, FileType::kInt64,
                                   FileType::kUInt8, FileType::kUInt16, FileType::kUInt32, FileType::kUInt64}) {
    if (H5Tequal(type, hdf5::library_type(candidate)) <= 0) continue;
    if (candidate != FileType::kUInt16 || !attribute_exists(dataset, "dtype", place)) return candidate;
    const std::string name = read_text(dataset, "dtype", place);
    ENGRAM_CHECK(name == name_of(FileType::kBFloat16), place.path, ": ", place.name, ": unknown dtype ", name);
    return FileType::kBFloat16;
  }
  ENGRAM_FAIL(place.path, ": ", place.name, ": elements are no little-endian number of 1 to 8 bytes");
}

std::vector<int64_t> stored_shape(hid_t dataset, const Place& place) {
  const Handle space(H5Dget_space(dataset), H5Sclose, place, "reading the data space");
  const int rank = H5Sget_simple_extent_ndims(space);
  ENGRAM_CHECK(rank >= 1 && rank <= Tensor::kMaxRank, place.path, ": ", place.name, ": rank ", rank, "; wanted 1 to ",
               Tensor::kMaxRank);
  std::vector<hsize_t> dims(static_cast<size_t>(rank));
  check(H5Sget_simple_extent_dims(space, dims.data(), nullptr), place, "reading the shape");
  hsize_t count = 1;
  for (const hsize_t size : dims) {
    ENGRAM_CHECK(!__builtin_mul_overflow(count, size, &count) && count < hsize_t{1} << 56, place.path, ": ", place.name,
                 ": the shape is beyond any file");
  }
  return {dims.begin(), dims.end()};
}

void check_filters(hid_t creation, const Place& place) {
  bool has_checksum = false;
  for (int i = 0; i < H5Pget_nfilters(creation); ++i) {
    unsigned flags = 0, config = 0;
    size_t num_values = 0;
    const H5Z_filter_t filter =
        H5Pget_filter2(creation, static_cast<unsigned>(i), &flags, &num_values, nullptr, 0, nullptr, &config);
    ENGRAM_CHECK(filter == H5Z_FILTER_SHUFFLE || filter == H5Z_FILTER_FLETCHER32 || filter == H5Z_FILTER_DEFLATE,
                 place.path, ": ", place.name, ": filter ", filter, " is refused; wanted shuffle, fletcher32, deflate");
    has_checksum |= filter == H5Z_FILTER_FLETCHER32;
  }
  ENGRAM_CHECK(has_checksum, place.path, ": ", place.name, ": has no checksum (filter fletcher32)");
}

int64_t offset_of(hid_t dataset, const Place& place) {
  const haddr_t offset = H5Dget_offset(dataset);
  ENGRAM_CHECK(offset != HADDR_UNDEF && offset < haddr_t{1} << 56, place.path, ": ", place.name,
               ": its elements are not there");
  return static_cast<int64_t>(offset);
}

// Refuses what could read another file or plug-in, and a dataset whose chunks are not all there. Gives where elements
// lie that may do so in one piece.
int64_t check_storage(hid_t dataset, const std::vector<int64_t>& shape, bool may_be_in_one_piece, const Place& place) {
  const Handle creation(H5Dget_create_plist(dataset), H5Pclose, place, "reading the properties");
  ENGRAM_CHECK(H5Pget_external_count(creation) == 0, place.path, ": ", place.name, ": external storage is refused");
  const H5D_layout_t layout = H5Pget_layout(creation);
  if (hdf5::num_elements(shape) == 0 && layout != H5D_VIRTUAL) return -1;
  if (may_be_in_one_piece && layout == H5D_CONTIGUOUS) return offset_of(dataset, place);
  ENGRAM_CHECK(layout == H5D_CHUNKED, place.path, ": ", place.name, ": storage is not chunked");
  check_filters(creation, place);

  std::vector<hsize_t> chunk(shape.size());
  check(H5Pget_chunk(creation, static_cast<int>(chunk.size()), chunk.data()), place, "reading the chunk size");
  hsize_t wanted = 1, found = 0;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    wanted *= (static_cast<hsize_t>(shape[axis]) + chunk[axis] - 1) / chunk[axis];
  }
  const Handle space(H5Dget_space(dataset), H5Sclose, place, "reading the data space");
  check(H5Dget_num_chunks(dataset, space, &found), place, "counting chunks");
  ENGRAM_CHECK(found == wanted, place.path, ": ", place.name, ": holds ", found, " of ", wanted, " chunks");
  return -1;
}

// Looks at every object of the file before anything is read from it.
Datasets list_datasets(hid_t file, const std::string& path, const std::string& in_one_piece) {
  Links links;
  check(H5Lvisit(file, H5_INDEX_NAME, H5_ITER_INC, visit_link, &links), {path, ""}, "listing the file");
  ENGRAM_CHECK(!links.foreign, path, ": ", *links.foreign, ": soft and external links are refused");
  Datasets datasets;
  for (const std::string& name : links.names) {
    const Place place{path, name};
    const Handle object(H5Oopen(file, name.c_str(), H5P_DEFAULT), H5Oclose, place, "opening the object");
    const H5I_type_t kind = H5Iget_type(object);
    if (kind == H5I_GROUP) continue;
    ENGRAM_CHECK(kind == H5I_DATASET, path, ": ", name, ": is neither a dataset nor a group");
    DatasetInfo info{.type = stored_type(object, place), .shape = stored_shape(object, place)};
    info.offset = check_storage(object, info.shape, name == in_one_piece, place);
    datasets.emplace(name, info);
  }
  return datasets;
}

}  // namespace

struct Hdf5Reader::State {
  std::string path;
  Handle file;
  Datasets datasets;

  const DatasetInfo& info(const std::string& name) const {
    const auto found = datasets.find(name);
    ENGRAM_CHECK(found != datasets.end(), path, ": ", name, ": no such dataset");
    return found->second;
  }
  // The dataset, or the file where the name is "".
  Handle open(const std::string& name) const {
    if (!name.empty()) info(name);
    return {H5Oopen(file, name.empty() ? "/" : name.c_str(), H5P_DEFAULT), H5Oclose, {path, name}, "opening"};
  }
};

Hdf5Reader::Hdf5Reader(std::string path, const std::string& in_one_piece) {
  const Session session;
  Handle file = open_file(path);
  Datasets datasets = list_datasets(file, path, in_one_piece);
  state_ = std::make_unique<State>(State{std::move(path), std::move(file), std::move(datasets)});
}

Hdf5Reader::Hdf5Reader(Hdf5Reader&&) noexcept = default;

Hdf5Reader::~Hdf5Reader() {
  const Session session;
  state_.reset();
}

const std::string& Hdf5Reader::path() const { return state_->path; }

std::vector<std::string> Hdf5Reader::dataset_names() const {
  std::vector<std::string> names;
  for (const auto& [name, info] : state_->datasets) names.push_back(name);
  return names;
}

bool Hdf5Reader::has_dataset(const std::string& name) const { return state_->datasets.contains(name); }

DatasetInfo Hdf5Reader::dataset_info(const std::string& name) const { return state_->info(name); }

void Hdf5Reader::read_rows(const std::string& name, int64_t first_row, const FileTarget& rows) const {
  const Session session;
  const Place place{state_->path, name};
  hdf5::check_rows(state_->info(name), rows.type, rows.shape, first_row, place);
  if (hdf5::num_elements(rows.shape) == 0) return;
  const Handle dataset = state_->open(name);
  const Handle in_file = hdf5::select_rows(dataset, first_row, rows.shape, place);
  const Handle in_memory = hdf5::make_space(rows.shape, place);
  check(H5Dread(dataset, hdf5::library_type(rows.type), in_memory, in_file, H5P_DEFAULT, rows.data), place,
        "reading rows");
}

void Hdf5Reader::read_dataset(const std::string& name, const FileTarget& values) const {
  const DatasetInfo& info = state_->info(name);
  ENGRAM_CHECK(values.shape == info.shape, state_->path, ": ", name, ": memory has shape ",
               hdf5::shape_text(values.shape), ", the dataset ", hdf5::shape_text(info.shape));
  read_rows(name, 0, values);
}

bool Hdf5Reader::has_attribute(const std::string& name, const std::string& key) const {
  const Session session;
  return attribute_exists(state_->open(name), key, {state_->path, name});
}

int64_t Hdf5Reader::int_attribute(const std::string& name, const std::string& key) const {
  const Session session;
  const Place place{state_->path, name};
  const Handle object = state_->open(name);
  const Handle attribute = open_attribute(object, key, place);
  check_scalar(attribute, key, place);
  const Handle type(H5Aget_type(attribute), H5Tclose, place, "reading the type of attribute " + key);
  ENGRAM_CHECK(H5Tequal(type, H5T_STD_I64LE) > 0, place.path, ": ", name, ": attribute ", key, " is no int64");
  int64_t value = 0;
  check(H5Aread(attribute, H5T_STD_I64LE, &value), place, "reading attribute " + key);
  return value;
}

std::string Hdf5Reader::string_attribute(const std::string& name, const std::string& key) const {
  const Session session;
  return read_text(state_->open(name), key, {state_->path, name});
}

}  // namespace engram
