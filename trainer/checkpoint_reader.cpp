#include "trainer/checkpoint_reader.h"

#include <algorithm>

namespace engram {
namespace {

std::string folder_of(const std::string& name) { return name.substr(0, name.rfind('/') + 1); }
std::string last_of(const std::string& name) { return name.substr(name.rfind('/') + 1); }

std::vector<int64_t> read_integers(const Hdf5Reader& file, const std::string& name) {
  std::vector<int64_t> values(static_cast<size_t>(file.dataset_info(name).shape.at(0)));
  file.read_dataset(name, std::span<int64_t>(values));
  return values;
}

}  // namespace

int64_t row_elements(const DatasetInfo& info) {
  int64_t count = 1;
  for (size_t axis = 1; axis < info.shape.size(); ++axis) count *= info.shape[axis];
  return count;
}

int64_t num_bytes(const DatasetInfo& info) { return info.shape.at(0) * row_elements(info) * size_of(info.type); }

CheckpointReader::CheckpointReader(const std::string& checkpoint)
    : path_(checkpoint), manifest_(read_manifest(checkpoint)) {
  for (const Manifest::File& file : manifest_.files) {
    if (file.name.ends_with(".h5")) files_.emplace_back(checkpoint + "/" + file.name);
  }
  for (size_t file = 0; file < files_.size(); ++file) add_file(file);
  for (const auto& [name, info] : arrays_) check_runs(name);
}

void CheckpointReader::add_file(size_t file) {
  const Hdf5Reader& reader = files_[file];
  for (const std::string& name : reader.dataset_names()) {
    if (name.starts_with("table/")) {
      if (last_of(name) != kFirstRows && last_of(name) != kNumRows) add_table_array(file, name);
    } else {
      const int64_t first = name.starts_with("dense/") ? reader.int_attribute(name, "offset") : 0;
      add(file, name, first, 0, reader.dataset_info(name).shape.at(0));
    }
  }
}

void CheckpointReader::add_table_array(size_t file, const std::string& name) {
  const std::vector<int64_t> first_rows = read_integers(files_[file], folder_of(name) + kFirstRows);
  const std::vector<int64_t> num_rows = read_integers(files_[file], folder_of(name) + kNumRows);
  ENGRAM_CHECK(first_rows.size() == num_rows.size(), files_[file].path(), ": ", name, ": ", first_rows.size(),
               " first rows of runs and ", num_rows.size(), " lengths");
  const int64_t stored = files_[file].dataset_info(name).shape.at(0);
  int64_t row_in_file = 0;
  for (size_t run = 0; run < first_rows.size(); ++run) {
    ENGRAM_CHECK(num_rows[run] >= 0 && num_rows[run] <= stored - row_in_file, files_[file].path(), ": ", name, ": run ",
                 run, " has ", num_rows[run], " rows where ", stored - row_in_file, " are left");
    add(file, name, first_rows[run], row_in_file, num_rows[run]);
    row_in_file += num_rows[run];
  }
  ENGRAM_CHECK(row_in_file == stored, files_[file].path(), ": ", name, ": the last ", stored - row_in_file,
               " rows are in no run");
}

void CheckpointReader::add(size_t file, const std::string& name, int64_t first, int64_t row_in_file, int64_t count) {
  DatasetInfo info = files_[file].dataset_info(name);
  info.shape[0] = 0;  // check_runs() counts the rows
  const auto [known, is_new] = arrays_.emplace(name, info);
  ENGRAM_CHECK(known->second.type == info.type && known->second.shape == info.shape, files_[file].path(), ": ", name,
               ": ", name_of(info.type), " with ", row_elements(info), " elements in a row; another file has ",
               name_of(known->second.type), " with ", row_elements(known->second));
  runs_[name].push_back({.file = file, .row_in_file = row_in_file, .first = first, .count = count});
}

void CheckpointReader::check_runs(const std::string& name) {
  std::vector<Run>& runs = runs_.at(name);
  std::ranges::sort(runs, {}, &Run::first);
  int64_t end = 0;
  for (const Run& run : runs) {
    ENGRAM_CHECK(run.first == end, path_, ": ", name, ": row ", std::min(run.first, end),
                 run.first > end ? " is in no file" : " is there twice");
    end += run.count;
  }
  arrays_.at(name).shape[0] = end;
}

void CheckpointReader::read_rows(const std::string& name, int64_t first, const FileTarget& rows) const {
  const auto found = arrays_.find(name);
  ENGRAM_CHECK(found != arrays_.end(), path_, ": has no ", name);
  const int64_t end = first + rows.shape.at(0), row_bytes = row_elements(found->second) * size_of(found->second.type);
  ENGRAM_CHECK(first >= 0 && end <= found->second.shape[0], path_, ": ", name, ": rows ", first, " to ", end,
               "; it has ", found->second.shape[0]);
  const std::vector<Run>& runs = runs_.at(name);
  auto next = std::ranges::upper_bound(runs, first, {}, &Run::first);  // after the run that has the first row
  if (next != runs.begin()) --next;
  for (; next != runs.end() && next->first < end; ++next) {
    const Run& run = *next;
    const int64_t from = std::max(first, run.first), to = std::min(end, run.first + run.count);
    if (from >= to) continue;
    FileTarget part = rows;
    part.data = static_cast<std::byte*>(rows.data) + (from - first) * row_bytes;
    part.shape[0] = to - from;
    files_[run.file].read_rows(name, run.row_in_file + from - run.first, part);
  }
}

}  // namespace engram
