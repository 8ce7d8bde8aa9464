#pragma once

#include <map>
#include <string>
#include <vector>

#include "data/hdf5_file.h"
#include "trainer/manifest.h"

namespace engram {

inline constexpr const char* kFirstRows = "first_rows";  // of the runs of a table's rows; see checkpoint.h
inline constexpr const char* kNumRows = "num_rows";

// The arrays of a checkpoint in global coordinates, whatever number of ranks wrote it, for whoever needs no replica. A
// dense array is flat [elements], that of a table [rows] or [rows, width].
class CheckpointReader {
 public:
  // Throws Error that names file and array unless the files hold each row of each array exactly once. Reads no digest:
  // see check_files().
  explicit CheckpointReader(const std::string& checkpoint);

  const std::string& path() const { return path_; }
  const Manifest& manifest() const { return manifest_; }
  // By name: "dense/NAME/value", "state/NAME", "table/T/weight", ...; see checkpoint.h.
  const std::map<std::string, DatasetInfo>& arrays() const { return arrays_; }
  // Rows [first, first + rows.shape[0]) of an array, of its type. Throws Error where there is none of that name, type
  // and size.
  void read_rows(const std::string& name, int64_t first, const FileTarget& rows) const;

 private:
  // Rows of an array that lie one after the other in a file.
  struct Run {
    size_t file = 0;
    int64_t row_in_file = 0, first = 0, count = 0;
  };
  void add(size_t file, const std::string& name, int64_t first, int64_t row_in_file, int64_t count);
  void add_file(size_t file);
  void add_table_array(size_t file, const std::string& name);
  void check_runs(const std::string& name);

  std::string path_;
  Manifest manifest_;
  std::vector<Hdf5Reader> files_;
  std::map<std::string, DatasetInfo> arrays_;
  std::map<std::string, std::vector<Run>> runs_;  // by array, in ascending order
};

// Bytes of an array.
int64_t num_bytes(const DatasetInfo& info);

// Elements of all rows of one, 1 for [rows].
int64_t row_elements(const DatasetInfo& info);

}  // namespace engram
