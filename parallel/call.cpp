#include "parallel/call.h"

#include <functional>
#include <numeric>

namespace engram {
namespace {

std::string problem_of(const std::function<void()>& checks) {
  try {
    checks();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

Call make_call(CallHeader header, const std::function<void()>& checks) {
  Call call{.header = header, .problem = problem_of(checks)};
  call.header.has_problem = call.problem.empty() ? 0 : 1;
  return call;
}

// The size of one part, one part among num_ranks, and where it may lie.
void check_part(Collective collective, int num_ranks, int rank, const Tensor& part, const Tensor& all) {
  const char* name = name_of(collective);
  ENGRAM_CHECK(part.dtype == all.dtype, name, ": the part is ", name_of(part.dtype), ", the whole ",
               name_of(all.dtype));
  ENGRAM_CHECK(all.numel() == num_ranks * part.numel(), name, ": the whole has ", all.numel(), " elements; wanted ",
               num_ranks, " parts of ", part.numel());
  const auto* begin = static_cast<const char*>(all.data);
  const auto* at = static_cast<const char*>(part.data);
  if (at == nullptr) return;
  const bool apart = at + part.num_bytes() <= begin || begin + all.num_bytes() <= at;
  ENGRAM_CHECK(apart || at == begin + rank * part.num_bytes(), name, ": the part lies in the whole, but not as part ",
               rank);
}

void check_summable(Collective collective, DType dtype) {
  const bool summable = dtype != DType::kBFloat16 && dtype != DType::kUInt8;
  ENGRAM_CHECK(summable, name_of(collective), ": no sum of ", name_of(dtype), " on the host");
}

int64_t row_bytes_of(const Tensor& tensor) {
  int64_t count = size_of(tensor.dtype);
  for (int axis = 1; axis < tensor.rank; ++axis) count *= tensor.size(axis);
  return count;
}

void check_rows(const char* side, int num_ranks, const Tensor& rows, std::span<const int64_t> counts) {
  ENGRAM_CHECK(rows.rank >= 1, "all_to_all_rows: ", side, " has rank 0; wanted [num_rows, ...]");
  ENGRAM_CHECK(std::ssize(counts) == num_ranks, "all_to_all_rows: ", counts.size(), " ", side, " counts for ",
               num_ranks, " ranks");
  for (const int64_t count : counts) ENGRAM_CHECK(count >= 0, "all_to_all_rows: a ", side, " count is ", count);
  const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  ENGRAM_CHECK(total == rows.size(0), "all_to_all_rows: ", side, " counts add up to ", total, ", but ", side, " has ",
               rows.size(0), " rows");
}

std::string describe(const CallHeader& call) {
  std::string text = name_of(static_cast<DType>(call.dtype));
  if (call.collective == Collective::kAllToAllRows)
    return text + " rows of " + std::to_string(call.row_bytes) + " bytes";
  text += " x " + std::to_string(call.num_elements);
  if (call.collective == Collective::kBroadcast) text += " from root " + std::to_string(call.choice);
  return text;
}

}  // namespace

const char* name_of(Collective collective) {
  switch (collective) {
    case Collective::kSplit:
      return "split";
    case Collective::kBarrier:
      return "barrier";
    case Collective::kBroadcast:
      return "broadcast";
    case Collective::kAllGather:
      return "all_gather";
    case Collective::kReduceScatterSum:
      return "reduce_scatter_sum";
    case Collective::kAllReduceSum:
      return "all_reduce_sum";
    case Collective::kAllToAllRows:
      return "all_to_all_rows";
  }
  return "unknown";
}

Call split_call(int color) { return {.header = {.collective = Collective::kSplit, .choice = color}, .problem = ""}; }

Call barrier_call() { return {}; }

Call broadcast_call(int num_ranks, const Tensor& data, int root) {
  const CallHeader header{.collective = Collective::kBroadcast,
                          .dtype = static_cast<int64_t>(data.dtype),
                          .num_elements = data.numel(),
                          .choice = root};
  return make_call(header, [&] {
    ENGRAM_CHECK(root >= 0 && root < num_ranks, "broadcast: root ", root, " of ", num_ranks, " ranks");
  });
}

Call all_gather_call(int num_ranks, int rank, const Tensor& mine, const Tensor& all) {
  const CallHeader header{
      .collective = Collective::kAllGather, .dtype = static_cast<int64_t>(mine.dtype), .num_elements = mine.numel()};
  return make_call(header, [&] { check_part(header.collective, num_ranks, rank, mine, all); });
}

Call reduce_scatter_sum_call(int num_ranks, int rank, const Tensor& all, const Tensor& mine) {
  const CallHeader header{.collective = Collective::kReduceScatterSum,
                          .dtype = static_cast<int64_t>(mine.dtype),
                          .num_elements = mine.numel()};
  return make_call(header, [&] {
    check_part(header.collective, num_ranks, rank, mine, all);
    check_summable(header.collective, mine.dtype);
  });
}

Call all_reduce_sum_call(const Tensor& data) {
  const CallHeader header{
      .collective = Collective::kAllReduceSum, .dtype = static_cast<int64_t>(data.dtype), .num_elements = data.numel()};
  return make_call(header, [&] { check_summable(header.collective, data.dtype); });
}

Call all_to_all_rows_call(int num_ranks, const Tensor& send, std::span<const int64_t> send_counts, const Tensor& recv,
                          std::span<const int64_t> recv_counts) {
  const CallHeader header{.collective = Collective::kAllToAllRows,
                          .dtype = static_cast<int64_t>(send.dtype),
                          .row_bytes = row_bytes_of(send)};
  return make_call(header, [&] {
    check_rows("send", num_ranks, send, send_counts);
    check_rows("recv", num_ranks, recv, recv_counts);
    ENGRAM_CHECK(send.dtype == recv.dtype && row_bytes_of(send) == row_bytes_of(recv), "all_to_all_rows: send is ",
                 name_of(send.dtype), " ", to_string(send.shape()), ", recv ", name_of(recv.dtype), " ",
                 to_string(recv.shape()), "; wanted rows of one size and dtype");
  });
}

void check_host(const Stream& stream) {
  ENGRAM_CHECK(device_of(stream) == Device::kCpu, "a communicator of host memory was given a CUDA stream");
}

void check_problem(const Call& call) {
  if (!call.problem.empty()) throw Error(call.problem);
}

void check_calls(const Call& mine, std::span<const CallHeader> calls, std::span<const int> names) {
  check_problem(mine);
  const CallHeader& first = calls[0];
  for (size_t r = 0; r < calls.size(); ++r) {
    if (calls[r].has_problem != 0) {
      throw PeerFailed(std::string(name_of(calls[r].collective)) + ": the arguments of rank " +
                       std::to_string(names[r]) + " do not fit; its own message says why");
    }
  }
  for (size_t r = 1; r < calls.size(); ++r) {
    const CallHeader& call = calls[r];
    ENGRAM_CHECK(call.collective == first.collective && call.sequence == first.sequence, "rank ", names[r], " is in ",
                 name_of(call.collective), " (its call ", call.sequence, " of this group) where rank ", names[0],
                 " is in ", name_of(first.collective), " (its call ", first.sequence, ")");
    const bool same_root = call.choice == first.choice || call.collective == Collective::kSplit;
    ENGRAM_CHECK(same_root && call.dtype == first.dtype && call.num_elements == first.num_elements &&
                     call.row_bytes == first.row_bytes,
                 name_of(call.collective), ": rank ", names[r], " has ", describe(call), ", rank ", names[0], " has ",
                 describe(first));
  }
}

void check_counts(std::span<const int64_t> send, std::span<const int64_t> recv, std::span<const int> names) {
  const size_t num_ranks = names.size();
  for (size_t p = 0; p < num_ranks; ++p) {
    for (size_t q = 0; q < num_ranks; ++q) {
      const int64_t expected = recv[p * num_ranks + q], sent = send[q * num_ranks + p];
      ENGRAM_CHECK(expected == sent, "all_to_all_rows: rank ", names[p], " expects ", expected, " rows from rank ",
                   names[q], ", which sends ", sent);
    }
  }
}

}  // namespace engram
