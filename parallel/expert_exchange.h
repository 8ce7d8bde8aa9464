#pragma once

#include "parallel/communicator.h"
#include "parallel/reused_buffer.h"

namespace engram {

// How routed experts lie on the ranks that share them: rank s holds experts [s * n, (s + 1) * n), n = count().
struct ExpertShard {
  int64_t num_experts = 0;
  int64_t num_ranks = 1;
  int64_t rank = 0;

  int64_t count() const { return num_experts / num_ranks; }
  int64_t first() const { return rank * count(); }
};

// How many rows go to which rank, and come from which, by rank.
struct ExpertRoute {
  std::vector<int64_t> sent, received;
  int64_t num_received = 0;
};

// Carries rows to the ranks that hold their experts and back, dropping none. Collective: all ranks of the group make
// the same calls in the same order.
//
//   ExpertRoute route = exchange.route(stream, plan.offsets, num_rows);  // counts, the one wait of the host
//   exchange.dispatch(stream, rows, route, arrived).wait();        // to the experts
//   exchange.combine(stream, arrived, route, rows).wait();         // and back
class ExpertExchange {
 public:
  // headroom: a rank receives at most headroom times the rows that the rank with most of them sends. group.size() must
  // be shard.num_ranks, but for dry streams; it must outlive the exchange.
  ExpertExchange(Communicator& group, const ExpertShard& shard, double headroom);

  // For num_rows rows sorted by expert, those of expert e at [offsets[e], offsets[e + 1]) (see ExpertPlan). Blocks the
  // host until the stream is done and all ranks have come. Throws Error on all ranks where one would receive more rows
  // than there is room for. On a dry stream: a route with as many rows as there is room for.
  ExpertRoute route(Stream& stream, const Tensor& offsets, int64_t num_rows);

  // rows [num_rows, width], sorted by expert, become rows of arrived [num_received, width]: those of rank 0, sorted by
  // expert, then those of rank 1, ... combine() is the way back. Any dtype.
  Pending dispatch(Stream& stream, const Tensor& rows, const ExpertRoute& route, const Tensor& arrived);
  Pending combine(Stream& stream, const Tensor& arrived, const ExpertRoute& route, const Tensor& rows);

  // Memory for rows at the sender and at the receiver, beside the arena, since rows travel while others of its tensors
  // come to stay. Each lives until it is taken anew.
  Tensor take_rows(Stream& stream, DType dtype, int64_t num_rows, int64_t width);
  Tensor take_arrived(Stream& stream, DType dtype, int64_t num_rows, int64_t width);

 private:
  std::vector<int64_t> counts_by_rank(Stream& stream, const Tensor& offsets);
  int64_t most_received(int64_t num_rows) const;

  Communicator& group_;
  ExpertShard shard_;
  double headroom_;
  Stream host_ = CpuQueue{};
  ReusedBuffer offsets_memory_, rows_memory_, arrived_memory_;
};

}  // namespace engram
