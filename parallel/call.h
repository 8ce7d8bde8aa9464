#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

// What every back end checks about a collective call, on both sides. Part of the communicators, not for their users.
namespace engram {

enum class Collective : int64_t {
  kSplit,
  kBarrier,
  kBroadcast,
  kAllGather,
  kReduceScatterSum,
  kAllReduceSum,
  kAllToAllRows
};

const char* name_of(Collective collective);

// What one rank says about its call: words only, so that any transport can carry it.
struct CallHeader {
  Collective collective = Collective::kBarrier;
  int64_t sequence = 0;      // calls made on this communicator before
  int64_t dtype = 0;         // a DType
  int64_t num_elements = 0;  // of the part of one rank; all_to_all_rows has counts of its own
  int64_t row_bytes = 0;     // all_to_all_rows
  int64_t choice = 0;        // root of a broadcast, color of a split
  int64_t has_problem = 0;   // 1: the arguments are wrong on this rank alone, which throws its own Error
};
static_assert(std::is_trivially_copyable_v<CallHeader>);

// The call of this rank, and what is wrong with its arguments ("" for nothing). A rank with a problem stays in the
// schedule until its peers know about it.
struct Call {
  CallHeader header;
  std::string problem;
};

Call split_call(int color);
Call barrier_call();
Call broadcast_call(int num_ranks, const Tensor& data, int root);
Call all_gather_call(int num_ranks, int rank, const Tensor& mine, const Tensor& all);
Call reduce_scatter_sum_call(int num_ranks, int rank, const Tensor& all, const Tensor& mine);
Call all_reduce_sum_call(const Tensor& data);
// Counts must be those of `num_ranks` peers.
Call all_to_all_rows_call(int num_ranks, const Tensor& send, std::span<const int64_t> send_counts, const Tensor& recv,
                          std::span<const int64_t> recv_counts);

// Throws Error for a CUDA stream: these back ends move host memory.
void check_host(const Stream& stream);

// Throws Error with the rank's own problem, if it has one.
void check_problem(const Call& call);

// Throws unless the calls of all ranks (calls[r] is rank r's) fit together: Error with the rank's own problem,
// PeerFailed where only others have one, otherwise Error naming the first rank that differs from rank 0. The latter is
// the same text on every rank. names[r] is what messages call rank r.
void check_calls(const Call& mine, std::span<const CallHeader> calls, std::span<const int> names);

// Throws Error, the same on every rank, unless recv[p * num_ranks + q] == send[q * num_ranks + p] for all p, q: what p
// expects from q is what q sends to p.
void check_counts(std::span<const int64_t> send, std::span<const int64_t> recv, std::span<const int> names);

}  // namespace engram
