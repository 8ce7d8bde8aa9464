#pragma once

#include <cassert>
#include <span>
#include <vector>

#include "kernels/core/event.h"
#include "kernels/row_segments.h"
#include "parallel/reused_buffer.h"

namespace engram {

// What one rank asked for and moved under one plan.
struct RowStats {
  int64_t requests = 0;    // rows asked for, duplicates included, masked positions not
  int64_t masked = 0;      // positions that asked for none
  int64_t unique = 0;      // distinct rows among the requests; the group's sum equals that of `served`
  int64_t served = 0;      // rows that all ranks, this one included, ask of this one
  int64_t own_unique = 0;  // distinct rows among these
  int64_t bytes_sent = 0;  // to other ranks: headers, slots, rows and gradients
};

// Who needs which rows in one step: made by RowExchange::plan, which fills it anew each time and keeps its memory. What
// is told of own rows counts once RowExchange::count_own has counted them.
// The tensors of a plan are memory of the device it was made on; they live, and must not be read by work that is still
// queued, until it is planned again.
class RowPlan {
 public:
  int64_t num_requests() const { return inverse_.empty() ? 0 : inverse_.size(0); }  // n
  int64_t num_unique() const { return stats_.unique; }                              // u
  int64_t num_served() const { return stats_.served; }                              // v
  int64_t num_own_unique() const { return stats_.own_unique; }                      // m

  // [n] int64: the place of request i among the unique rows, -1 where it is masked.
  const Tensor& inverse() const { return inverse_; }
  // The requests for each unique row: order [n], offsets [u + 1].
  const RowSegments& segments() const { return segments_; }
  // Unique rows that each peer holds: the unique rows are ordered by (owner, slot). One count per rank.
  std::span<const int64_t> send_counts() const { return send_counts_; }
  // Rows that each peer asks of this rank. One count per rank.
  std::span<const int64_t> request_counts() const { return request_counts_; }
  // [v] int64: the slots they ask for, by peer, strictly ascending within a peer.
  const Tensor& request_slots() const { return request_slots_; }
  // [m] int64: the distinct slots among these, ascending.
  const Tensor& own_slots() const {
    assert(is_own_counted_);
    return own_slots_;
  }

  const RowStats& stats() const { return stats_; }

 private:
  friend class RowExchange;

  bool is_begun_ = false, is_made_ = false;
  bool is_local_ = false;       // of one rank on CUDA, which has nobody to send to
  bool is_own_counted_ = true;  // else the count is on its way to host_counts_
  RowStats stats_;
  std::vector<int64_t> send_counts_, request_counts_;
  Tensor rows_;  // asked for, while the plan is begun
  Tensor inverse_, request_slots_, own_slots_;
  Tensor unique_keys_;                   // [u]: owner * slots of a shard + slot
  RowSegments segments_, own_segments_;  // own: the served requests for each of own_slots
  Tensor own_inverse_;                   // [v]: the place of each request among own_slots
  Tensor sent_slots_, received_slots_;   // [u] and [v], on the host: what ranks tell each other
  Tensor host_counts_;                   // of the device, once counted_ is reached
  Event counted_;

  std::vector<int64_t> sent_hashes_, received_hashes_;
  ReusedBuffer keys_memory_, unique_memory_, inverse_memory_, order_memory_, offsets_memory_;
  ReusedBuffer counts_memory_, host_counts_memory_;
  ReusedBuffer sent_memory_, received_memory_;
  ReusedBuffer request_memory_, own_unique_memory_, own_inverse_memory_, own_order_memory_, own_offsets_memory_;
  ReusedBuffer served_memory_, rows_memory_, received_sums_memory_, merged_memory_;
};

}  // namespace engram
