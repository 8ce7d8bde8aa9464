#pragma once

#include <memory>

#include "parallel/communicator.h"

namespace engram {

// How the ranks of the world are used. world = pipeline x context x tensor x data; `expert` and `table` are no factors
// but group the data ranks once more: "data 4, table 4" is four ranks.
struct MeshShape {
  int64_t pipeline = 1;  // 1 is all that works today, as for context and tensor
  int64_t context = 1;
  int64_t tensor = 1;
  int64_t expert = 1;  // data ranks that share the experts
  int64_t table = 0;   // data ranks that share the memory tables; 0 = all of them
};

// Throws Error, with key, value and what is wanted, unless the world can be used in this way.
void validate(const MeshShape& shape, int world_size);

// Data ranks that share a set of parameters. With S ranks a share, ranks g * S .. g * S + S - 1 of the data group hold
// one copy among them.
struct Grouping {
  std::unique_ptr<Communicator> shard;    // the S ranks of one copy; rank() is the number of this rank's shard
  std::unique_ptr<Communicator> replica;  // the ranks that hold the same shard of each copy
};

// The groups a rank belongs to. `world` must outlive it.
class Mesh {
 public:
  // Every rank of the world calls it with the same shape. Throws what validate() throws.
  Mesh(Communicator& world, const MeshShape& shape);

  Communicator& world() const { return *world_; }
  // Ranks that see different samples and otherwise do the same: today the whole world.
  Communicator& data() const { return *world_; }
  const Grouping& expert() const { return expert_; }
  const Grouping& table() const { return table_; }

 private:
  Communicator* world_;
  Grouping expert_;
  Grouping table_;
};

}  // namespace engram
