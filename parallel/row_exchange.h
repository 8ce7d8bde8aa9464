#pragma once

#include "parallel/communicator.h"
#include "parallel/row_layout.h"
#include "parallel/row_messages.h"
#include "parallel/row_plan.h"

namespace engram {
namespace detail {

// One side of a transfer of rows: their slots at the owner, the rows themselves, both by peer.
struct RowMessage {
  Tensor slots, rows;
  std::span<const int64_t> counts;
};

// Rows in flight, and on the CPU a hash of every peer's rows beside them.
struct RowTransfer {
  Pending rows, hashes;
  bool is_hashed = false;
  RowMessage received;
  RowPlan* plan = nullptr;
};

}  // namespace detail

class RowExchange;

// A fetch or a return of gradients that was issued. wait() is to be called with the same stream; what it gives lives
// until the next call of that kind or begin_plan() on the same plan. On the CPU it is collective too: it throws on all
// ranks where any rank received rows that are not as they were sent. On CUDA it never blocks the host.
//
// Of a fetch: the rows of the plan, [num_unique, width], by owner and slot. Of a return: the merged gradients of this
// rank's own rows, [num_own_unique, width], in the order of plan.own_slots(): for each row the sums of all ranks that
// asked for it, added in rank order. A single rank on CUDA gets its sums back as they are.
class [[nodiscard]] PendingRows {
 public:
  Tensor wait(Stream& stream);

 private:
  friend class RowExchange;
  RowExchange* exchange_ = nullptr;
  detail::RowTransfer transfer_;
  Tensor result_;
  RowSegments merging_;  // of the received rows, to the result; empty where they are the result
};

// Moves rows of sharded tables between their owners and the ranks that need them: once per step for the whole local
// batch, each distinct row once. Collective: all ranks of the group make the same calls in the same order.
//
//   exchange.plan(stream, rows, plan);                               // ids to owners
//   Tensor values = exchange.begin_fetch(stream, weight, plan).wait(stream);      // rows back
//   ... row_gather(values, plan.inverse(), ...), row_segment_sum(..., plan.segments(), sums) ...
//   Tensor merged = exchange.return_gradients(stream, sums, plan).wait(stream);  // gradients to owners
//   ... update the rows plan.own_slots() of weight with merged ...
//
// Messages between ranks are guarded: a header per peer says format, plan, route, row type, layout, and count, sum and
// hash of the slot list; received slots must be this shard's, strictly ascending and as the header says; on the CPU a
// hash goes with each peer's rows. What any rank finds wrong is voted on, before a row moves or is handed out, and all
// ranks throw together.
//
// On CUDA unique rows are found on the device, headers and slots go by way of the host. begin_plan() and finish_plan()
// may use a stream of their own, under the work of the step before, and block the host only for what is not yet done
// there. Fetches never block it, returns only until the own rows are counted: rows move from device to device as the
// group moves them on CUDA streams.
class RowExchange {
 public:
  // The type of a row on the wire: bfloat16 also for tables of float32, whose rows are rounded on their way out.
  struct RowType {
    int64_t width = 0;
    DType dtype = DType::kFloat32;
  };

  // group.size() must be layout.num_shards(); both must outlive the exchange.
  RowExchange(Communicator& group, const RowLayout& layout, RowType row_type);

  // Makes the plan for the global rows [n] int64 of a whole local batch; -1 asks for no row. Throws on all ranks where
  // any rank has a number that is no row, or a message was damaged; the plan must then not be used. Blocks the host
  // until the stream is done; when it returns, the plan may be used on any stream of the device.
  void plan(Stream& stream, const Tensor& rows, RowPlan& plan);
  // The same in two halves. The first, which is not collective, queues all that this rank does alone and does not wait
  // for it; rows must live until the second. The second blocks the host until the first half is done, not for what it
  // queues itself: streams that use the plan must wait for this one. It counts own rows too, and returns of gradients
  // or count_own() block the host until it has. The first plan of all is finished before another stream begins one.
  void begin_plan(Stream& stream, const Tensor& rows, RowPlan& plan);
  void finish_plan(Stream& stream, RowPlan& plan);
  void count_own(RowPlan& plan) const;

  // Fetches the plan's rows from weight [num_slots, width], each rank's own shard, of the dtype of rows or float32.
  // Until wait() the weights must not change.
  PendingRows begin_fetch(Stream& stream, const Tensor& weight, RowPlan& plan);
  // The same where the shard lies elsewhere, from the rows plan.own_slots() alone, [num_own_unique, width]; only what
  // this call queues reads them.
  PendingRows begin_fetch_staged(Stream& stream, const Tensor& own_rows, RowPlan& plan);

  // Sends sums [num_unique, width] in accumulator(dtype), the gradients of the fetched rows, to the owners.
  PendingRows return_gradients(Stream& stream, const Tensor& sums, RowPlan& plan);

  const RowType& row_type() const { return row_type_; }

 private:
  friend class PendingRows;

  // The stages of finish_plan(). Each gives what is wrong, or "", and leaves this rank fit for the next vote.
  std::string take_unique(Stream& stream, RowPlan& plan);
  void serve_itself(RowPlan& plan) const;
  void split_by_owner(RowPlan& plan) const;
  std::string exchange_headers(RowPlan& plan);
  std::string exchange_slots(Device device, RowPlan& plan);
  void find_own_unique(Stream& stream, RowPlan& plan);
  void upload_layout(Stream& stream);

  void check_rows(const char* what, const Tensor& rows, int64_t num_rows) const;
  Tensor take_served(const Stream& stream, RowPlan& plan) const;
  PendingRows send_served(Stream& stream, const Tensor& served, RowPlan& plan);
  detail::RowTransfer begin(Stream& stream, const detail::RowMessage& sent, const detail::RowMessage& received,
                            RowPlan& plan);
  void finish(detail::RowTransfer& transfer);
  // all_to_all_rows, counted in the statistics.
  Pending move(Stream& stream, const detail::RowMessage& sent, const detail::RowMessage& received, RowStats& stats);

  RowHeader header_between(int source, int destination) const;
  std::string from(int peer, const std::string& problem) const;
  int64_t num_slots() const { return layout_.num_slots(group_.rank()); }

  Communicator& group_;
  const RowLayout& layout_;
  RowType row_type_;
  Stream host_ = CpuQueue{};
  Tensor first_block_, table_rows_;  // of the layout, on the device of the first plan
  ReusedBuffer first_block_memory_, table_rows_memory_;
  int64_t num_plans_ = 0;
  std::vector<int64_t> ones_;  // counts of a message of one row a peer
  std::vector<RowHeader> sent_headers_, received_headers_;
};

}  // namespace engram
