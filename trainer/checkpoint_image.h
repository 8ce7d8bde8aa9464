#pragma once

#include <map>
#include <string>
#include <vector>

#include "data/hdf5_file.h"

namespace engram {

// Datasets of a file to be written later, in host memory. Used again, it takes no new memory for datasets that are as
// large as before.
class CheckpointImage {
 public:
  void create_dataset(const std::string& name, FileType type, std::span<const int64_t> shape);
  // A dataset of numbers that lie on the host.
  void write_dataset(const std::string& name, std::span<const int64_t> values);
  // The memory of `num_rows` rows of a dataset, as bytes.
  std::span<std::byte> rows(const std::string& name, int64_t first_row, int64_t num_rows);
  void set_attribute(const std::string& name, const std::string& key, int64_t value);

  // Everything, in an order of its own; in pieces, so that others may use HDF5 in between.
  void write_to(Hdf5Writer& file) const;

 private:
  struct Dataset {
    DatasetInfo info;
    std::vector<std::byte> bytes;
    std::map<std::string, int64_t> attributes;

    int64_t row_bytes() const;
  };
  std::map<std::string, Dataset> datasets_;
};

}  // namespace engram
