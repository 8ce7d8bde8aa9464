#include "trainer/checkpoint_image.h"

#include <algorithm>
#include <array>
#include <numeric>

namespace engram {

int64_t CheckpointImage::Dataset::row_bytes() const {
  return std::accumulate(info.shape.begin() + 1, info.shape.end(), size_of(info.type), std::multiplies());
}

void CheckpointImage::create_dataset(const std::string& name, FileType type, std::span<const int64_t> shape) {
  Dataset& dataset = datasets_[name];
  dataset.info = {type, {shape.begin(), shape.end()}};
  dataset.bytes.resize(static_cast<size_t>(shape[0] * dataset.row_bytes()));
}

void CheckpointImage::write_dataset(const std::string& name, std::span<const int64_t> values) {
  const std::array<int64_t, 1> shape{std::ssize(values)};
  create_dataset(name, FileType::kInt64, shape);
  std::ranges::copy(std::as_bytes(values), datasets_.at(name).bytes.begin());
}

std::span<std::byte> CheckpointImage::rows(const std::string& name, int64_t first_row, int64_t num_rows) {
  Dataset& dataset = datasets_.at(name);
  const int64_t row_bytes = dataset.row_bytes();
  return std::span(dataset.bytes)
      .subspan(static_cast<size_t>(first_row * row_bytes), static_cast<size_t>(num_rows * row_bytes));
}

void CheckpointImage::set_attribute(const std::string& name, const std::string& key, int64_t value) {
  datasets_.at(name).attributes[key] = value;
}

void CheckpointImage::write_to(Hdf5Writer& file) const {
  constexpr int64_t kPieceBytes = int64_t{8} << 20;
  for (const auto& [name, dataset] : datasets_) {
    file.create_dataset(name, dataset.info.type, dataset.info.shape);
    const int64_t num_rows = dataset.info.shape[0], row_bytes = dataset.row_bytes();
    const int64_t piece = std::max<int64_t>(1, kPieceBytes / std::max<int64_t>(1, row_bytes));
    for (int64_t row = 0; row < num_rows; row += piece) {
      FileSource rows(std::span<const uint8_t>{});
      rows.data = dataset.bytes.data() + row * row_bytes;
      rows.type = dataset.info.type;
      rows.shape = dataset.info.shape;
      rows.shape[0] = std::min(piece, num_rows - row);
      file.write_rows(name, row, rows);
    }
    for (const auto& [key, value] : dataset.attributes) file.set_attribute(name, key, value);
  }
}

}  // namespace engram
