#include "trainer/checkpoint_tensors.h"

#include <algorithm>
#include <map>

#include "kernels/core/device.h"

namespace engram {
namespace {

struct NamedArray {
  std::string name;
  Tensor value;
};

// The arrays that lie like the owned part of the group's parameters: value, then the optimizer's.
std::vector<NamedArray> dense_arrays(const ZeroGroup& group, bool weights_only) {
  std::vector<NamedArray> arrays{{"value", group.own_weights()}};
  if (weights_only) return arrays;
  for (const OptimizerArray& array : group.optimizer_state()) arrays.push_back({array.name, array.value});
  return arrays;
}

// The arrays that lie like the table's slots.
std::vector<NamedArray> table_arrays(const Memory& memory, bool weights_only) {
  std::vector<NamedArray> arrays{{"weight", memory.table().weight()}};
  if (weights_only) return arrays;
  for (const OptimizerArray& array : memory.optimizer_state()) arrays.push_back({array.name, array.value});
  return arrays;
}

std::string dense_name(const Parameter& parameter, const std::string& array) {
  return "dense/" + parameter.name + "/" + array;
}
std::string table_name(int64_t table, const std::string& array) {
  return "table/" + std::to_string(table) + "/" + array;
}

// Rows from first_row on of a dataset become `rows`.
void put_rows(Hdf5Writer& file, Replica& r, const std::string& name, int64_t first_row, const Tensor& rows) {
  std::vector<std::byte> bytes(static_cast<size_t>(rows.num_bytes()));
  copy(r.stream, rows, Tensor(bytes.data(), DType::kUInt8, {rows.num_bytes()}));
  synchronize(r.stream);
  file.write_rows(name, first_row, Tensor(bytes.data(), rows.dtype, rows.shape()));
}

// The same, once the stream has come so far.
void put_rows(CheckpointImage& image, Replica& r, const std::string& name, int64_t first_row, const Tensor& rows) {
  const std::span<std::byte> memory = image.rows(name, first_row, rows.size(0));
  copy(r.stream, rows, Tensor(memory.data(), DType::kUInt8, {rows.num_bytes()}));
}

template <class File>
void put_tensor(File& file, Replica& r, const std::string& name, const Tensor& tensor) {
  file.create_dataset(name, file_type(tensor.dtype), tensor.shape());
  put_rows(file, r, name, 0, tensor);
}

// Reads rows [first, first + target.size(0)) of a dataset into device memory.
void read_tensor(const Hdf5Reader& file, Replica& r, const std::string& name, int64_t first, const Tensor& target) {
  std::vector<std::byte> bytes(static_cast<size_t>(target.num_bytes()));
  const Tensor host(bytes.data(), target.dtype, target.shape());
  file.read_rows(name, first, host);
  copy(r.stream, host, target);
  synchronize(r.stream);
}

template <class File>
void put_table(File& file, Replica& r, int64_t table) {
  std::vector<int64_t> first_rows, num_rows;
  std::vector<RowLayout::Block> blocks;
  int64_t total = 0;
  for (const RowLayout::Block& block : r.memory->layout().blocks(r.world.rank())) {
    if (block.table != table) continue;
    blocks.push_back(block);
    first_rows.push_back(block.first_row);
    num_rows.push_back(block.num_rows);
    total += block.num_rows;
  }
  file.write_dataset(table_name(table, "first_rows"), std::span<const int64_t>(first_rows));
  file.write_dataset(table_name(table, "num_rows"), std::span<const int64_t>(num_rows));
  for (const NamedArray& array : table_arrays(*r.memory, false)) {
    std::vector<int64_t> shape(array.value.shape().begin(), array.value.shape().end());
    shape[0] = total;
    file.create_dataset(table_name(table, array.name), file_type(array.value.dtype), shape);
    int64_t row = 0;
    for (const RowLayout::Block& block : blocks) {
      put_rows(file, r, table_name(table, array.name), row, array.value.rows(block.first_slot, block.num_rows));
      row += block.num_rows;
    }
  }
}

template <class File>
void put_dense(File& file, Replica& r, const ZeroGroup& group) {
  for (const ParameterSlice& slice : group.own_slices()) {
    for (const NamedArray& array : dense_arrays(group, false)) {
      const std::string name = dense_name(group.parameter(slice), array.name);
      put_tensor(file, r, name, array.value.rows(group.part_offset(slice), slice.count));
      file.set_attribute(name, "offset", group.whole_offset(slice));
    }
  }
}

template <class File>
void put_all(File& file, Replica& r) {
  for (const ZeroGroup& group : r.zero_groups) put_dense(file, r, group);
  if (r.world.rank() == 0) {
    for (const StateArray& state : r.store.states()) put_tensor(file, r, "state/" + state.name, state.value);
  }
  if (!r.memory) return;
  r.memory->write_back(r.stream);
  for (int64_t table = 0; table < r.memory->layout().num_tables(); ++table) put_table(file, r, table);
}

// Reads the part of elements [first, first + target.numel()) of a parameter that the file holds; returns how many.
int64_t read_slice(const Hdf5Reader& file, Replica& r, const std::string& name, int64_t first, const Tensor& target) {
  if (!file.has_dataset(name)) return 0;
  const int64_t offset = file.int_attribute(name, "offset"), count = file.dataset_info(name).shape.at(0);
  const int64_t begin = std::max(offset, first), end = std::min(offset + count, first + target.numel());
  if (begin >= end) return 0;
  read_tensor(file, r, name, begin - offset, target.rows(begin - first, end - begin));
  return end - begin;
}

void read_dense(const std::vector<Hdf5Reader>& files, Replica& r, const ZeroGroup& group, bool weights_only) {
  for (const ParameterSlice& slice : group.own_slices()) {
    for (const NamedArray& array : dense_arrays(group, weights_only)) {
      const std::string name = dense_name(group.parameter(slice), array.name);
      const Tensor target = array.value.rows(group.part_offset(slice), slice.count);
      const int64_t first = group.whole_offset(slice);
      int64_t found = 0;
      for (const Hdf5Reader& file : files) found += read_slice(file, r, name, first, target);
      ENGRAM_CHECK(found == slice.count, "checkpoint of ", files.at(0).path(), ": ", name, " has ", found,
                   " of the elements ", first, " to ", first + slice.count, " that this rank needs");
    }
  }
}

// Reads the runs of rows of one table that the file holds and this rank owns; returns how many rows.
int64_t read_table(const Hdf5Reader& file, Replica& r, int64_t table, bool weights_only) {
  const std::string runs_name = table_name(table, "first_rows");
  if (!file.has_dataset(runs_name)) return 0;
  std::vector<int64_t> first_rows(static_cast<size_t>(file.dataset_info(runs_name).shape.at(0)));
  std::vector<int64_t> num_rows(first_rows.size());
  file.read_dataset(runs_name, std::span<int64_t>(first_rows));
  file.read_dataset(table_name(table, "num_rows"), std::span<int64_t>(num_rows));
  const RowLayout& layout = r.memory->layout();
  int64_t row_in_file = 0, found = 0;
  for (size_t run = 0; run < first_rows.size(); ++run) {
    const int64_t global_row = layout.global_row(table, first_rows[run]);
    if (layout.owner(global_row) == r.world.rank()) {
      for (const NamedArray& array : table_arrays(*r.memory, weights_only)) {
        read_tensor(file, r, table_name(table, array.name), row_in_file,
                    array.value.rows(layout.slot(global_row), num_rows[run]));
      }
      found += num_rows[run];
    }
    row_in_file += num_rows[run];
  }
  return found;
}

void read_tables(const std::vector<Hdf5Reader>& files, Replica& r, bool weights_only) {
  std::map<int64_t, int64_t> wanted;
  for (const RowLayout::Block& block : r.memory->layout().blocks(r.world.rank())) wanted[block.table] += block.num_rows;
  for (const auto& [table, num_rows] : wanted) {
    int64_t found = 0;
    for (const Hdf5Reader& file : files) found += read_table(file, r, table, weights_only);
    ENGRAM_CHECK(found == num_rows, "checkpoint of ", files.at(0).path(), ": table ", table, " has ", found, " of the ",
                 num_rows, " rows that this rank owns");
  }
}

}  // namespace

void write_tensors(Hdf5Writer& file, Replica& r) { put_all(file, r); }

void write_tensors(CheckpointImage& image, Replica& r) {
  put_all(image, r);
  synchronize(r.stream);
}

int64_t num_owned_bytes(Replica& r) {
  int64_t total = 0;
  for (const ZeroGroup& group : r.zero_groups) {
    for (const NamedArray& array : dense_arrays(group, false)) total += array.value.num_bytes();
  }
  if (!r.memory) return total;
  for (const NamedArray& array : table_arrays(*r.memory, false)) total += array.value.num_bytes();
  return total;
}

void read_tensors(const std::vector<Hdf5Reader>& files, Replica& r, bool weights_only) {
  for (const ZeroGroup& group : r.zero_groups) read_dense(files, r, group, weights_only);
  for (const StateArray& state : r.store.states()) {
    read_tensor(files.at(0), r, "state/" + state.name, 0, state.value);
  }
  if (r.memory) read_tables(files, r, weights_only);
}

}  // namespace engram
