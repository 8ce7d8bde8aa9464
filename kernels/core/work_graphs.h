#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "kernels/core/stream.h"

struct CUgraphExec_st;

namespace engram {

// Work that a CUDA stream is given again and again, as CUDA graphs: one launch in place of one for each kernel.
class WorkGraphs {
 public:
  // What tells one piece of work from another: all memory that it reads and writes and that may lie elsewhere another
  // time. Sizes must follow from it. Memory that is not named, such as a library's workspace, must not move.
  using Key = std::vector<const void*>;

  // max_keys: that are remembered at a time; one more, and all are forgotten. At least as many as come in turn, or no
  // graph is ever launched, and some to spare where memory moves.
  explicit WorkGraphs(int64_t max_keys) : max_keys_(max_keys) {}

  // Issues the work that body() issues: runs body() the first time that a key is seen, records it as a graph the
  // second time, and from then on launches the graph without calling body(). The work must be on this stream alone,
  // the same for the same key, and body() must not wait for it. The CPU, and a stream with a profile, run body() each
  // time. Throws Unavailable where the work cannot be recorded, or what body() throws.
  void run(Stream& stream, const Key& key, const std::function<void()>& body);

  // Launches of graphs so far.
  int64_t num_launched() const { return num_launched_; }

 private:
  struct Release {
    void operator()(CUgraphExec_st* graph) const;
  };
  using Graph = std::unique_ptr<CUgraphExec_st, Release>;

  int64_t max_keys_;
  std::map<Key, Graph> graphs_;  // without a graph: seen once
  int64_t num_launched_ = 0;
};

}  // namespace engram
