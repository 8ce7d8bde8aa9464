#pragma once

#include <algorithm>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "tests/data/temporary_directory.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/checkpoint.h"

// What the tests of checkpoints share.
namespace engram::test {

inline RunIdentity tiny_identity() {
  return {.tokenizer_digest = "tokenizer one", .vocabulary_digest = "vocabulary one", .data_digest = "data one"};
}

inline std::vector<double> made_up_steps(Replica& r, int64_t num_steps) {
  std::vector<double> losses;
  for (int64_t i = 0; i < num_steps; ++i) losses.push_back(made_up_step(r).loss);
  return losses;
}

// Trains num_steps on num_ranks and saves each checkpoint that `every` asks for.
inline void train_and_save(const RunConfig& config, int num_ranks, int64_t num_steps, const std::string& directory,
                           int64_t every) {
  run_ranks(num_ranks, [&](Communicator& world) {
    TinyReplica tiny(config, world, DType::kFloat32);
    for (int64_t i = 0; i < num_steps; ++i) {
      made_up_step(tiny.replica);
      if (tiny.replica.step % every == 0) save_checkpoint(tiny.replica, tiny_identity(), directory);
    }
  });
}

// Message of the Error of each rank; empty where a rank throws none.
struct RankErrors {
  std::vector<std::string> messages;

  bool all_name(const std::string& words) const {
    return std::all_of(messages.begin(), messages.end(),
                       [&](const std::string& message) { return message.find(words) != std::string::npos; });
  }
  std::string text() const {
    std::string all;
    for (const std::string& message : messages) all += "\n  " + (message.empty() ? "(no error)" : message);
    return all;
  }
};

// Loads into fresh replicas on num_ranks, and expects that every rank is refused and left as it was.
inline RankErrors refused_load(const RunConfig& config, int num_ranks, const std::string& checkpoint,
                               const RunIdentity& identity = tiny_identity(), LoadScope scope = LoadScope::kResume) {
  RankErrors errors;
  errors.messages.resize(static_cast<size_t>(num_ranks));
  run_ranks(num_ranks, [&](Communicator& world) {
    TinyReplica tiny(config, world, DType::kFloat32);
    const auto before = bits_of(tiny.replica);
    errors.messages[static_cast<size_t>(world.rank())] =
        error_of([&] { load_checkpoint(tiny.replica, identity, checkpoint, scope); });
    EXPECT_TRUE(bits_of(tiny.replica) == before);
    EXPECT_EQ(tiny.replica.step, 0);
  });
  return errors;
}

// The whole state of a run in global coordinates: every array by name, whatever the number of ranks.
using GlobalState = std::map<std::string, std::vector<std::byte>>;

class GlobalStateBuilder {
 public:
  // Puts in what this rank owns; ranks may call it at the same time.
  void add(Replica& r) {
    const std::scoped_lock lock(mutex_);
    for (const ZeroGroup& group : r.zero_groups) add_dense(group);
    for (const StateArray& state : r.store.states()) put(state.name, 0, state.value);
    if (r.memory) add_tables(r);
  }
  const GlobalState& state() const { return state_; }

 private:
  void add_dense(const ZeroGroup& group) {
    std::vector<OptimizerArray> arrays = group.optimizer_state();
    arrays.push_back({"value", group.own_weights()});
    for (const ParameterSlice& slice : group.own_slices()) {
      for (const OptimizerArray& array : arrays) {
        put("dense/" + group.parameter(slice).name + "/" + array.name, group.whole_offset(slice),
            array.value.rows(group.part_offset(slice), slice.count));
      }
    }
  }
  void add_tables(Replica& r) {
    std::vector<OptimizerArray> arrays = r.memory->optimizer_state();
    arrays.push_back({"weight", r.memory->table().weight()});
    const RowLayout& layout = r.memory->layout();
    for (const RowLayout::Block& block : layout.blocks(r.world.rank())) {
      for (const OptimizerArray& array : arrays) {
        put("table/" + std::to_string(block.table) + "/" + array.name, block.first_row,
            array.value.rows(block.first_slot, block.num_rows));
      }
    }
  }
  // Rows [first, first + part.size(0)) of an array.
  void put(const std::string& name, int64_t first, const Tensor& part) {
    const int64_t row_bytes = part.num_bytes() / part.size(0);
    std::vector<std::byte>& all = state_[name];
    all.resize(std::max(all.size(), static_cast<size_t>(first * row_bytes + part.num_bytes())));
    const auto* data = static_cast<const std::byte*>(part.data);
    std::copy(data, data + part.num_bytes(), all.begin() + first * row_bytes);
  }

  std::mutex mutex_;
  GlobalState state_;
};

}  // namespace engram::test
