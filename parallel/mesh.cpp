#include "parallel/mesh.h"

namespace engram {
namespace {

void check_single(const char* axis, int64_t extent) {
  ENGRAM_CHECK(extent == 1, "parallel.", axis, ": ", extent, " is not supported yet; only 1 is");
}

void check_divides(const char* group, int64_t extent, int64_t num_data_ranks) {
  ENGRAM_CHECK(extent >= 1 && num_data_ranks % extent == 0, "parallel.", group, ": ", extent, " does not divide the ",
               num_data_ranks, " data ranks");
}

int64_t table_extent(const MeshShape& shape, int64_t num_data_ranks) {
  return shape.table == 0 ? num_data_ranks : shape.table;
}

Grouping make_grouping(Communicator& data, int64_t num_shards) {
  const int extent = static_cast<int>(num_shards);
  return {.shard = data.split(data.rank() / extent), .replica = data.split(data.rank() % extent)};
}

}  // namespace

void validate(const MeshShape& shape, int world_size) {
  check_single("pipeline", shape.pipeline);
  check_single("context", shape.context);
  check_single("tensor", shape.tensor);
  check_divides("expert", shape.expert, world_size);
  check_divides("table", table_extent(shape, world_size), world_size);
}

Mesh::Mesh(Communicator& world, const MeshShape& shape) : world_(&world) {
  validate(shape, world.size());
  expert_ = make_grouping(data(), shape.expert);
  table_ = make_grouping(data(), table_extent(shape, data().size()));
}

}  // namespace engram
