#pragma once

#include "parallel/communicator.h"
#include "parallel/row_layout.h"
#include "parallel/row_plan.h"

namespace engram {

// A fetch that was issued. wait() gives the rows of the plan, [num_unique, width], in the order of plan.slots(); they
// live until the next fetch or plan() on the same plan.
class [[nodiscard]] PendingRows {
 public:
  Tensor wait(Stream& stream);

 private:
  friend class RowExchange;
  Pending transfer_;
  Tensor rows_;
};

// A gradient return that was issued. wait() gives the merged gradients of this rank's own rows,
// [num_own_unique, width], in the order of plan.own_slots(): for each row the sums of all ranks that asked for it,
// added in rank order. They live until the next return or plan() on the same plan.
class [[nodiscard]] PendingGradients {
 public:
  Tensor wait(Stream& stream);

 private:
  friend class RowExchange;
  Pending transfer_;
  Tensor received_, inverse_, merged_;
};

// Moves rows of sharded tables between their owners and the ranks that need them: once per step for the whole local
// batch, each distinct row once. Collective: all ranks of the group make the same calls in the same order.
//
//   exchange.plan(stream, rows, plan);                               // ids to owners
//   Tensor values = exchange.begin_fetch(stream, weight, plan).wait(stream);      // rows back
//   ... row_gather(values, plan.inverse(), ...), row_segment_sum(..., plan.inverse(), sums) ...
//   Tensor merged = exchange.return_gradients(stream, sums, plan).wait(stream);  // gradients to owners
//   ... update the rows plan.own_slots() of weight with merged ...
//
// Messages between ranks are guarded: a header per peer says format, plan, route, row type, layout, and count and
// hash of the slot list; received slots must be this shard's, strictly ascending and as the header says. What any rank
// finds wrong is voted on before a row moves, and all ranks throw together.
class RowExchange {
 public:
  // The type of a row on the wire.
  struct RowType {
    int64_t width = 0;
    DType dtype = DType::kFloat32;
  };

  // group.size() must be layout.num_shards(); both must outlive the exchange.
  RowExchange(Communicator& group, const RowLayout& layout, RowType row_type);

  // Makes the plan for the global rows [n] int64 of a whole local batch; -1 asks for no row. Throws on all ranks where
  // any rank has a number that is no row, or a message was damaged; the plan must then not be used.
  void plan(Stream& stream, const Tensor& rows, RowPlan& plan);

  // Fetches the plan's rows from weight [num_slots, width], each rank's own shard. Until wait() the weights must not
  // change.
  PendingRows begin_fetch(Stream& stream, const Tensor& weight, RowPlan& plan);

  // Sends sums [num_unique, width] in accumulator(dtype), the gradients of the fetched rows, to the owners.
  PendingGradients return_gradients(Stream& stream, const Tensor& sums, RowPlan& plan);

  const RowType& row_type() const { return row_type_; }

 private:
  std::string find_unique(Stream& stream, const Tensor& rows, RowPlan& plan);
  std::string exchange_headers(Stream& stream, RowPlan& plan);
  std::string exchange_slots(Stream& stream, RowPlan& plan);
  void find_own_unique(Stream& stream, RowPlan& plan);

  Communicator& group_;
  const RowLayout& layout_;
  RowType row_type_;
  int64_t num_plans_ = 0;
  ReusedBuffer sent_headers_, received_headers_;
};

}  // namespace engram
