#include "trainer/checkpoint_tensors.h"

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

// Says which runs of rows of a table the file has.
template <class File>
void put_runs(File& file, const OwnedArray& array) {
  std::vector<int64_t> first_rows, num_rows;
  for (const OwnedArray::Part& part : array.parts) {
    first_rows.push_back(part.first);
    num_rows.push_back(part.rows.size(0));
  }
  const std::string folder = "table/" + std::to_string(array.table) + "/";
  file.write_dataset(folder + kFirstRows, std::span<const int64_t>(first_rows));
  file.write_dataset(folder + kNumRows, std::span<const int64_t>(num_rows));
}

template <class File>
void put(File& file, Replica& r, const OwnedArray& array) {
  std::vector<int64_t> shape(array.all.shape().begin(), array.all.shape().end());
  shape[0] = 0;
  for (const OwnedArray::Part& part : array.parts) shape[0] += part.rows.size(0);
  file.create_dataset(array.name, file_type(array.all.dtype), shape);
  int64_t row = 0;
  for (const OwnedArray::Part& part : array.parts) {
    put_rows(file, r, array.name, row, part.rows);
    row += part.rows.size(0);
  }
  if (array.kind == OwnedArray::Kind::kDense) file.set_attribute(array.name, "offset", array.parts[0].first);
}

template <class File>
void put_all(File& file, Replica& r) {
  if (r.memory) r.memory->write_back(r.stream);
  int64_t last_table = -1;
  for_each_owned(r, /*weights_only=*/false, [&](const OwnedArray& array) {
    if (array.kind == OwnedArray::Kind::kState && r.world.rank() != 0) return;
    if (array.table != last_table) put_runs(file, array);
    last_table = array.table;
    put(file, r, array);
  });
}

void own_dense(const ZeroGroup& group, bool weights_only, const std::function<void(const OwnedArray&)>& use) {
  for (const ParameterSlice& slice : group.own_slices()) {
    const std::string& parameter = group.parameter(slice).name;
    for (const NamedArray& array : dense_arrays(group, weights_only)) {
      use({.kind = OwnedArray::Kind::kDense,
           .name = "dense/" + parameter + "/" + array.name,
           .parameter = parameter,
           .all = array.value,
           .parts = {{group.whole_offset(slice), array.value.rows(group.part_offset(slice), slice.count)}}});
    }
  }
}

void own_tables(const Memory& memory, int rank, bool weights_only, const std::function<void(const OwnedArray&)>& use) {
  std::vector<std::vector<RowLayout::Block>> blocks(static_cast<size_t>(memory.layout().num_tables()));
  for (const RowLayout::Block& block : memory.layout().blocks(rank)) {
    blocks[static_cast<size_t>(block.table)].push_back(block);
  }
  for (int64_t table = 0; table < std::ssize(blocks); ++table) {
    for (const NamedArray& array : table_arrays(memory, weights_only)) {
      OwnedArray owned{.kind = OwnedArray::Kind::kTable,
                       .name = "table/" + std::to_string(table) + "/" + array.name,
                       .parameter = {},
                       .table = table,
                       .all = array.value,
                       .parts = {}};
      for (const RowLayout::Block& block : blocks[static_cast<size_t>(table)]) {
        owned.parts.push_back({block.first_row, array.value.rows(block.first_slot, block.num_rows)});
      }
      use(owned);
    }
  }
}

}  // namespace

void for_each_owned(Replica& r, bool weights_only, const std::function<void(const OwnedArray&)>& use) {
  for (const ZeroGroup& group : r.zero_groups) own_dense(group, weights_only, use);
  for (const StateArray& state : r.store.states()) {
    use({.kind = OwnedArray::Kind::kState,
         .name = "state/" + state.name,
         .parameter = state.name,
         .all = state.value,
         .parts = {{0, state.value}}});
  }
  if (r.memory) own_tables(*r.memory, r.world.rank(), weights_only, use);
}

void write_tensors(Hdf5Writer& file, Replica& r) { put_all(file, r); }

void write_tensors(CheckpointImage& image, Replica& r) {
  put_all(image, r);
  synchronize(r.stream);
}

int64_t num_owned_bytes(Replica& r) {
  int64_t total = 0;
  for_each_owned(r, /*weights_only=*/false, [&](const OwnedArray& array) {
    for (const OwnedArray::Part& part : array.parts) total += part.rows.num_bytes();
  });
  return total;
}

void read_tensors(const CheckpointReader& checkpoint, Replica& r, bool weights_only) {
  for_each_owned(r, weights_only, [&](const OwnedArray& array) {
    for (const OwnedArray::Part& part : array.parts) {
      std::vector<std::byte> bytes(static_cast<size_t>(part.rows.num_bytes()));
      const Tensor host(bytes.data(), part.rows.dtype, part.rows.shape());
      checkpoint.read_rows(array.name, part.first, host);
      copy(r.stream, host, part.rows);
      synchronize(r.stream);
    }
  });
}

}  // namespace engram
