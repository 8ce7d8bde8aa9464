#include "parallel/mpi_communicator.h"

#include <fmt/format.h>

#define OMPI_SKIP_MPICXX 1  // C only: the C++ bindings left MPI long ago
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <limits>
#include <numeric>

#include "kernels/core/buffer.h"
#include "parallel/call.h"
#include "parallel/fold.h"
#include "parallel/peer_lost.h"

namespace engram {
namespace {

void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  ENGRAM_CHECK_AS(
      PeerLost, false, call, ": ", text, "; a rank, its machine or the link to it was lost. Start again from ",
      "the last checkpoint, as scripts/supervise.sh does; where that does not help, `engram doctor` tries links");
}

// A datatype of any number of bytes in one piece. Counting in such pieces keeps MPI's int counts small.
class Block {
 public:
  explicit Block(int64_t num_bytes) {
    constexpr int64_t kChunk = int64_t{1} << 30;
    MPI_Datatype chunk = MPI_BYTE;
    check_mpi(MPI_Type_contiguous(static_cast<int>(std::min(num_bytes, kChunk)), MPI_BYTE, &chunk),
              "MPI_Type_contiguous");
    const int lengths[] = {static_cast<int>(num_bytes / kChunk), static_cast<int>(num_bytes % kChunk)};
    const MPI_Aint offsets[] = {0, num_bytes / kChunk * kChunk};
    const MPI_Datatype types[] = {chunk, MPI_BYTE};
    if (num_bytes <= kChunk) {
      type_ = chunk;
    } else {
      check_mpi(MPI_Type_create_struct(2, lengths, offsets, types, &type_), "MPI_Type_create_struct");
      MPI_Type_free(&chunk);
    }
    check_mpi(MPI_Type_commit(&type_), "MPI_Type_commit");
  }
  ~Block() { MPI_Type_free(&type_); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  MPI_Datatype type() const { return type_; }

 private:
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
};

// How many rows go to or come from each peer, and where they start.
struct Segments {
  explicit Segments(std::span<const int64_t> rows) : counts(rows.begin(), rows.end()), begins(rows.size()) {
    std::exclusive_scan(counts.begin(), counts.end(), begins.begin(), 0);
  }
  std::vector<int> counts, begins;
};

// What a rank says about its side of an exchange of rows.
struct CountReport {
  int64_t peer = -1;  // the first that sends another number of rows than is expected of it; -1 = none
  int64_t expected = 0, sent = 0;
  int64_t most_rows = 0;  // sent or received
};

CountReport report_counts(std::span<const int64_t> send_counts, std::span<const int64_t> recv_counts,
                          std::span<const int64_t> sent) {
  const auto total = [](std::span<const int64_t> counts) {
    return std::accumulate(counts.begin(), counts.end(), int64_t{0});
  };
  CountReport report{.most_rows = std::max(total(send_counts), total(recv_counts))};
  const auto [expected, other] = std::mismatch(recv_counts.begin(), recv_counts.end(), sent.begin());
  if (expected == recv_counts.end()) return report;
  report.peer = expected - recv_counts.begin();
  report.expected = *expected;
  report.sent = *other;
  return report;
}

// A transfer in flight, and what MPI may look at until it has ended.
struct Transfer {
  Transfer(int64_t block_bytes, Pulse& of_rank) : pulse(of_rank), block(block_bytes) {}
  void wait() {
    const Pulse::Wait waiting(pulse);
    check_mpi(MPI_Wait(&request, MPI_STATUS_IGNORE), "MPI_Wait");
  }

  Pulse& pulse;
  Block block;
  MPI_Request request = MPI_REQUEST_NULL;
  std::vector<Segments> segments;
  char empty[2];  // stand for sides without rows: Open MPI takes equal addresses for MPI_IN_PLACE, and waits for ever
  Buffer scratch;
};

// sum = the parts that lie one after the other in `gathered`, added in rank order.
void fold_parts(const Buffer& gathered, int num_ranks, const Tensor& sum) {
  std::vector<const void*> parts;
  for (int r = 0; r < num_ranks; ++r) {
    parts.push_back(static_cast<const char*>(gathered.data()) + r * sum.num_bytes());
  }
  fold_sum(sum.dtype, parts, sum.data, sum.numel());
}

class MpiCommunicator final : public Communicator {
 public:
  // Takes over the handle. names[r] is the rank in the world of rank r.
  MpiCommunicator(MPI_Comm handle, std::vector<int> names, int local_rank, Pulse& pulse)
      : handle_(handle), names_(std::move(names)), local_rank_(local_rank), pulse_(pulse) {
    check_mpi(MPI_Comm_set_errhandler(handle_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check_mpi(MPI_Comm_rank(handle_, &rank_), "MPI_Comm_rank");
  }
  ~MpiCommunicator() override {
    // Freeing is collective, and after a failure the peers will not come.
    if (std::uncaught_exceptions() <= num_exceptions_) MPI_Comm_free(&handle_);
  }
  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(names_.size()); }
  int local_rank() const override { return local_rank_; }
  std::unique_ptr<Communicator> split(int color) override;
  void barrier() override;
  Pending broadcast(Stream& stream, const Tensor& data, int root) override;
  Pending all_gather(Stream& stream, const Tensor& mine, const Tensor& all) override;
  Pending reduce_scatter_sum(Stream& stream, const Tensor& all, const Tensor& mine) override;
  Pending all_reduce_sum(Stream& stream, const Tensor& data) override;
  Pending all_to_all_rows(Stream& stream, const Tensor& send, std::span<const int64_t> send_counts, const Tensor& recv,
                          std::span<const int64_t> recv_counts) override;

 private:
  // Meets the peers and checks that all calls fit together; returns the calls.
  std::vector<CallHeader> agree(Call call);
  // The same for a transfer: false where the stream is dry, and only the rank's own arguments were checked.
  bool agree(Stream& stream, const Call& call);
  void agree_on_counts(std::span<const int64_t> send_counts, std::span<const int64_t> recv_counts);

  MPI_Comm handle_;
  std::vector<int> names_;
  int rank_ = 0;
  int local_rank_;
  Pulse& pulse_;
  int64_t num_calls_ = 0;
  int num_exceptions_ = std::uncaught_exceptions();
};

std::vector<CallHeader> MpiCommunicator::agree(Call call) {
  call.header.sequence = num_calls_++;
  std::vector<CallHeader> calls(names_.size());
  constexpr int kBytes = sizeof(CallHeader);
  const Pulse::Wait waiting(pulse_);
  check_mpi(MPI_Allgather(&call.header, kBytes, MPI_BYTE, calls.data(), kBytes, MPI_BYTE, handle_), "MPI_Allgather");
  check_calls(call, calls, names_);
  return calls;
}

bool MpiCommunicator::agree(Stream& stream, const Call& call) {
  check_host(stream);
  if (is_dry(stream))
    check_problem(call);
  else
    agree(call);
  return !is_dry(stream);
}

// A few words for each peer: counts of all pairs of ranks would be 128 MiB on 4096 of them.
void MpiCommunicator::agree_on_counts(std::span<const int64_t> send_counts, std::span<const int64_t> recv_counts) {
  std::vector<int64_t> sent(names_.size());  // to this rank
  std::vector<CountReport> reports(names_.size());
  constexpr int kBytes = sizeof(CountReport);
  const Pulse::Wait waiting(pulse_);
  check_mpi(MPI_Alltoall(send_counts.data(), 1, MPI_INT64_T, sent.data(), 1, MPI_INT64_T, handle_), "MPI_Alltoall");
  const CountReport mine = report_counts(send_counts, recv_counts, sent);
  check_mpi(MPI_Allgather(&mine, kBytes, MPI_BYTE, reports.data(), kBytes, MPI_BYTE, handle_), "MPI_Allgather");
  for (size_t r = 0; r < reports.size(); ++r) {
    const CountReport& report = reports[r];
    ENGRAM_CHECK(report.peer < 0, "all_to_all_rows: rank ", names_[r], " expects ", report.expected, " rows from rank ",
                 names_[static_cast<size_t>(report.peer)], ", which sends ", report.sent);
    ENGRAM_CHECK(report.most_rows <= std::numeric_limits<int>::max(), "all_to_all_rows: rank ", names_[r], " has ",
                 report.most_rows, " rows on one side; MPI takes fewer than 2^31");
  }
}

void MpiCommunicator::barrier() { agree(barrier_call()); }

std::unique_ptr<Communicator> MpiCommunicator::split(int color) {
  const std::vector<CallHeader> calls = agree(split_call(color));
  std::vector<int> names;
  int first = -1;  // of the same color; MPI wants colors that are not negative
  for (int r = 0; r < size(); ++r) {
    if (calls[static_cast<size_t>(r)].choice != color) continue;
    if (first < 0) first = r;
    names.push_back(names_[static_cast<size_t>(r)]);
  }
  MPI_Comm handle = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(handle_, first, rank_, &handle), "MPI_Comm_split");
  return std::make_unique<MpiCommunicator>(handle, std::move(names), local_rank_, pulse_);
}

Pending MpiCommunicator::broadcast(Stream& stream, const Tensor& data, int root) {
  if (!agree(stream, broadcast_call(size(), data, root)) || data.num_bytes() == 0) return {};
  const auto transfer =
      std::make_shared<Transfer>(data.num_bytes(), pulse_);  // shared: std::function copies what it holds
  check_mpi(MPI_Ibcast(data.data, 1, transfer->block.type(), root, handle_, &transfer->request), "MPI_Ibcast");
  return Pending([transfer] { transfer->wait(); });
}

Pending MpiCommunicator::all_gather(Stream& stream, const Tensor& mine, const Tensor& all) {
  if (!agree(stream, all_gather_call(size(), rank_, mine, all)) || mine.num_bytes() == 0) return {};
  const bool in_place = mine.data == static_cast<char*>(all.data) + rank_ * mine.num_bytes();
  const auto transfer = std::make_shared<Transfer>(mine.num_bytes(), pulse_);
  const MPI_Datatype part = transfer->block.type();
  check_mpi(
      MPI_Iallgather(in_place ? MPI_IN_PLACE : mine.data, 1, part, all.data, 1, part, handle_, &transfer->request),
      "MPI_Iallgather");
  return Pending([transfer] { transfer->wait(); });
}

Pending MpiCommunicator::reduce_scatter_sum(Stream& stream, const Tensor& all, const Tensor& mine) {
  if (!agree(stream, reduce_scatter_sum_call(size(), rank_, all, mine)) || mine.num_bytes() == 0) return {};
  // MPI_Ireduce_scatter may add in any order; parts that are moved first can be added in rank order.
  const auto transfer = std::make_shared<Transfer>(mine.num_bytes(), pulse_);
  transfer->scratch = Buffer(Device::kCpu, all.num_bytes());
  const MPI_Datatype part = transfer->block.type();
  check_mpi(MPI_Ialltoall(all.data, 1, part, transfer->scratch.data(), 1, part, handle_, &transfer->request),
            "MPI_Ialltoall");
  return Pending([transfer, mine, num_ranks = size()] {
    transfer->wait();
    fold_parts(transfer->scratch, num_ranks, mine);
  });
}

Pending MpiCommunicator::all_reduce_sum(Stream& stream, const Tensor& data) {
  if (!agree(stream, all_reduce_sum_call(data)) || data.num_bytes() == 0) return {};
  // MPI_Iallreduce may add in any order.
  const auto transfer = std::make_shared<Transfer>(data.num_bytes(), pulse_);
  transfer->scratch = Buffer(Device::kCpu, data.num_bytes() * size());
  const MPI_Datatype whole = transfer->block.type();
  check_mpi(MPI_Iallgather(data.data, 1, whole, transfer->scratch.data(), 1, whole, handle_, &transfer->request),
            "MPI_Iallgather");
  return Pending([transfer, data, num_ranks = size()] {
    transfer->wait();
    fold_parts(transfer->scratch, num_ranks, data);
  });
}

Pending MpiCommunicator::all_to_all_rows(Stream& stream, const Tensor& send, std::span<const int64_t> send_counts,
                                         const Tensor& recv, std::span<const int64_t> recv_counts) {
  const Call call = all_to_all_rows_call(size(), send, send_counts, recv, recv_counts);
  if (!agree(stream, call)) return {};
  agree_on_counts(send_counts, recv_counts);
  if (call.header.row_bytes == 0) return {};
  const auto transfer = std::make_shared<Transfer>(call.header.row_bytes, pulse_);
  transfer->segments = {Segments(send_counts), Segments(recv_counts)};
  const Segments &out = transfer->segments[0], &in = transfer->segments[1];
  const MPI_Datatype row = transfer->block.type();
  const void* from = send.numel() == 0 ? &transfer->empty[0] : send.data;
  void* to = recv.numel() == 0 ? &transfer->empty[1] : recv.data;
  check_mpi(MPI_Ialltoallv(from, out.counts.data(), out.begins.data(), row, to, in.counts.data(), in.begins.data(), row,
                           handle_, &transfer->request),
            "MPI_Ialltoallv");
  return Pending([transfer] { transfer->wait(); });
}

}  // namespace

MpiSession::MpiSession() : num_exceptions_(std::uncaught_exceptions()) {
  int initialized = 0, provided = MPI_THREAD_SINGLE;
  MPI_Initialized(&initialized);
  ENGRAM_CHECK(initialized == 0, "MpiSession: MPI was started before in this process");
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  ENGRAM_CHECK(provided >= MPI_THREAD_FUNNELED, "MPI_Init_thread: thread level ", provided, "; wanted at least ",
               MPI_THREAD_FUNNELED, " (MPI_THREAD_FUNNELED)");
}

MpiSession::~MpiSession() {
  if (std::uncaught_exceptions() > num_exceptions_)
    MPI_Abort(MPI_COMM_WORLD, 1);  // finalizing would wait for peers
  else
    MPI_Finalize();
}

bool MpiSession::launched() {
  constexpr const char* kVariables[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"};
  return std::any_of(std::begin(kVariables), std::end(kVariables),
                     [](const char* name) { return std::getenv(name) != nullptr; });
}

std::unique_ptr<Communicator> MpiSession::world(Pulse& pulse) const {
  MPI_Comm handle = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &handle), "MPI_Comm_dup");
  int num_ranks = 0;
  check_mpi(MPI_Comm_size(handle, &num_ranks), "MPI_Comm_size");
  std::vector<int> names(static_cast<size_t>(num_ranks));
  std::iota(names.begin(), names.end(), 0);
  MPI_Comm machine = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(handle, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine), "MPI_Comm_split_type");
  int local_rank = 0;
  check_mpi(MPI_Comm_rank(machine, &local_rank), "MPI_Comm_rank");
  MPI_Comm_free(&machine);
  return std::make_unique<MpiCommunicator>(handle, std::move(names), local_rank, pulse);
}

void MpiSession::abort(int code) const {
  std::fflush(nullptr);
  MPI_Abort(MPI_COMM_WORLD, code);
  std::_Exit(code);  // not reached: MPI_Abort does not return
}

LibraryVersion mpi_version() {
#ifdef OMPI_MAJOR_VERSION
  char found[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  MPI_Get_library_version(found, &length);
  return library_version("Open MPI",
                         fmt::format("{}.{}.{}", OMPI_MAJOR_VERSION, OMPI_MINOR_VERSION, OMPI_RELEASE_VERSION), found);
#else
  int major = 0, minor = 0;
  MPI_Get_version(&major, &minor);
  return library_version("MPI", fmt::format("{}.{}", MPI_VERSION, MPI_SUBVERSION), fmt::format("{}.{}", major, minor));
#endif
}

}  // namespace engram
