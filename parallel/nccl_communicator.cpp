#include "parallel/nccl_communicator.h"

#if ENGRAM_WITH_NCCL

#include <nccl.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <numeric>
#include <vector>

#include "kernels/core/device.h"
#include "kernels/core/event.h"
#include "parallel/call.h"
#include "parallel/peer_lost.h"
#include "parallel/self_communicator.h"
#include "parallel/watchdog.h"

namespace engram {
namespace {

void check_nccl(ncclResult_t result, const char* call) {
  if (result == ncclSuccess) return;
  const std::string text = std::string(call) + ": " + ncclGetErrorString(result) + "; " + ncclGetLastError(nullptr) +
                           "; NCCL_DEBUG=WARN says more, `engram doctor` tries links";
  ENGRAM_CHECK_AS(PeerLost, result != ncclRemoteError, text);
  ENGRAM_CHECK_AS(Unavailable, false, text);
}

// The main thread hangs, so nobody above can do it.
[[noreturn]] void end_process(int exit_code, const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::fflush(nullptr);
  std::_Exit(exit_code);
}

ncclDataType_t nccl_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return ncclFloat32;
    case DType::kFloat64:
      return ncclFloat64;
    case DType::kBFloat16:
      return ncclBfloat16;
    case DType::kInt32:
      return ncclInt32;
    case DType::kInt64:
      return ncclInt64;
    case DType::kUInt8:
      return ncclUint8;
  }
  ENGRAM_FAIL("NCCL: no type for ", name_of(dtype));
}

cudaStream_t handle_of(Stream& stream) { return std::get<CudaQueue>(stream).handle; }

// The communication stream of a process, and who watches over it. Shared by the groups that come from one another.
class Line {
 public:
  explicit Line(const Communicator& host, const NcclOptions& options)
      : name_("rank " + std::to_string(host.rank()) + " of " + std::to_string(host.size())),
        stream_(make_stream(Device::kCuda, options.card, StreamPriority::kHigh)),
        watchdog_({.timeout_seconds = options.timeout_seconds,
                   .begin = [card = options.card] { cudaSetDevice(card); },
                   .find_problem = [this] { return find_problem(); },
                   .stop_work = [this] { abort_all(); },
                   .end_job = [code = options.exit_code](const std::string& message) { end_process(code, message); }}) {
  }

  Stream& stream() { return stream_; }
  const std::string& name() const { return name_; }
  void check() { watchdog_.check(); }
  void watch(std::string what, std::function<bool()> is_done) {
    watchdog_.watch(name_ + ": " + std::move(what), std::move(is_done));
  }

  // Runs launch() unless the groups have been given up.
  template <class Launch>
  void run(Launch&& launch) {
    const std::lock_guard lock(mutex_);
    check();
    launch();
  }

  void add(ncclComm_t comm) {
    const std::lock_guard lock(mutex_);
    comms_.push_back(comm);
  }
  // Frees a group; where peers may be gone, without them.
  void remove(ncclComm_t comm, bool abandon) {
    const std::lock_guard lock(mutex_);
    if (std::erase(comms_, comm) == 0) return;  // given up before
    if (abandon)
      ncclCommAbort(comm);
    else
      ncclCommDestroy(comm);
  }

 private:
  std::string find_problem() {
    const std::unique_lock lock(mutex_, std::try_to_lock);  // whoever has it is in a call that is watched itself
    if (!lock) return "";
    for (const ncclComm_t comm : comms_) {
      ncclResult_t state = ncclSuccess;
      if (ncclCommGetAsyncError(comm, &state) != ncclSuccess || (state != ncclSuccess && state != ncclInProgress)) {
        return name_ + ": NCCL failed: " + ncclGetErrorString(state) + "; " + ncclGetLastError(comm);
      }
    }
    return "";
  }

  // Ends kernels that wait for a peer, and so lets go of a host that waits for them.
  void abort_all() {
    const std::unique_lock lock(mutex_, std::chrono::seconds(1));
    if (!lock) return;  // the host hangs in a call to NCCL: end_job() is left
    for (const ncclComm_t comm : comms_) ncclCommAbort(comm);
    comms_.clear();
  }

  std::string name_;
  Stream stream_;
  std::timed_mutex mutex_;  // over comms_ and every call on one of them
  std::vector<ncclComm_t> comms_;
  Watchdog watchdog_;  // last: it uses all of the above
};

// One communicator of NCCL.
class Link {
 public:
  Link(std::shared_ptr<Line> line, Communicator& host) : line_(std::move(line)) {
    ncclUniqueId id{};
    if (host.rank() == 0) check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId");
    Stream stream = CpuQueue{};
    host.broadcast(stream, Tensor(id.internal, DType::kUInt8, {sizeof(id.internal)}), 0).wait();
    const auto is_made = std::make_shared<std::atomic<bool>>(false);
    line_->watch("making an NCCL group of " + std::to_string(host.size()) + " ranks",
                 [is_made] { return is_made->load(); });
    const ncclResult_t result = ncclCommInitRank(&comm_, host.size(), id, host.rank());
    *is_made = true;
    check_nccl(result, "ncclCommInitRank");
    line_->add(comm_);
  }
  ~Link() { line_->remove(comm_, std::uncaught_exceptions() > num_exceptions_); }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  Line& line() { return *line_; }
  const std::shared_ptr<Line>& shared_line() const { return line_; }
  ncclComm_t comm() const { return comm_; }

 private:
  std::shared_ptr<Line> line_;
  ncclComm_t comm_ = nullptr;
  int num_exceptions_ = std::uncaught_exceptions();
};

// When a transfer may begin, and when it has ended.
struct Flight {
  Event begin, end;
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(Communicator& host, std::shared_ptr<Link> link) : host_(host), link_(std::move(link)) {}
  NcclCommunicator(std::unique_ptr<Communicator> host, std::shared_ptr<Link> link)
      : NcclCommunicator(*host, std::move(link)) {
    owned_ = std::move(host);
  }

  int rank() const override { return host_.rank(); }
  int size() const override { return host_.size(); }
  int local_rank() const override { return host_.local_rank(); }
  std::unique_ptr<Communicator> split(int color) override;
  void barrier() override { host_.barrier(); }
  Pending broadcast(Stream& stream, const Tensor& data, int root) override;
  Pending all_gather(Stream& stream, const Tensor& mine, const Tensor& all) override;
  Pending reduce_scatter_sum(Stream& stream, const Tensor& all, const Tensor& mine) override;
  Pending all_reduce_sum(Stream& stream, const Tensor& data) override;
  Pending all_to_all_rows(Stream& stream, const Tensor& send, std::span<const int64_t> send_counts, const Tensor& recv,
                          std::span<const int64_t> recv_counts) override;

 private:
  // Who moves what is called with this stream, unless it is NCCL.
  Communicator* other(const Stream& stream) {
    if (device_of(stream) == Device::kCpu) return &host_;
    return size() == 1 ? &self_ : nullptr;
  }
  // Runs launch(NCCL's communicator, its stream) after what is queued on `stream`.
  Pending issue(Stream& stream, const Call& call, const std::function<void(ncclComm_t, cudaStream_t)>& launch);
  // Rows to and from the other ranks.
  void send_rows(ncclComm_t comm, cudaStream_t line, const Tensor& send, std::span<const int64_t> send_counts,
                 const Tensor& recv, std::span<const int64_t> recv_counts) const;
  // The rows of all_to_all_rows() that this rank has for itself.
  Tensor own_rows(const Tensor& rows, std::span<const int64_t> counts) const {
    const auto mine = counts.begin() + rank();
    return rows.rows(std::accumulate(counts.begin(), mine, int64_t{0}), *mine);
  }

  std::unique_ptr<Communicator> owned_;  // only a group made by split() has one
  Communicator& host_;
  SelfCommunicator self_;
  std::shared_ptr<Link> link_;
  int64_t num_calls_ = 0;
};

std::unique_ptr<Communicator> NcclCommunicator::split(int color) {
  auto child = host_.split(color);
  // A group of all ranks shares the communicator; a group of one needs none, but keeps the line for its own children.
  auto link =
      child->size() == size() || child->size() == 1 ? link_ : std::make_shared<Link>(link_->shared_line(), *child);
  return std::make_unique<NcclCommunicator>(std::move(child), std::move(link));
}

Pending NcclCommunicator::issue(Stream& stream, const Call& call,
                                const std::function<void(ncclComm_t, cudaStream_t)>& launch) {
  check_problem(call);
  Line& line = link_->line();
  const auto flight = std::make_shared<Flight>();
  flight->begin.record(stream);
  flight->begin.hold(line.stream());
  line.run([&] { launch(link_->comm(), handle_of(line.stream())); });
  flight->end.record(line.stream());
  line.watch(std::string(name_of(call.header.collective)) + " (call " + std::to_string(num_calls_++) +
                 " of a group of " + std::to_string(size()) + " ranks)",
             [flight] { return flight->end.is_reached(); });
  return Pending([link = link_, flight, &stream] {
    link->line().check();
    flight->end.hold(stream);
  });
}

Pending NcclCommunicator::broadcast(Stream& stream, const Tensor& data, int root) {
  if (Communicator* group = other(stream)) return group->broadcast(stream, data, root);
  return issue(stream, broadcast_call(size(), data, root), [&](ncclComm_t comm, cudaStream_t queue) {
    check_nccl(ncclBroadcast(data.data, data.data, static_cast<size_t>(data.num_bytes()), ncclUint8, root, comm, queue),
               "ncclBroadcast");
  });
}

Pending NcclCommunicator::all_gather(Stream& stream, const Tensor& mine, const Tensor& all) {
  if (Communicator* group = other(stream)) return group->all_gather(stream, mine, all);
  return issue(stream, all_gather_call(size(), rank(), mine, all), [&](ncclComm_t comm, cudaStream_t queue) {
    check_nccl(ncclAllGather(mine.data, all.data, static_cast<size_t>(mine.num_bytes()), ncclUint8, comm, queue),
               "ncclAllGather");
  });
}

Pending NcclCommunicator::reduce_scatter_sum(Stream& stream, const Tensor& all, const Tensor& mine) {
  if (Communicator* group = other(stream)) return group->reduce_scatter_sum(stream, all, mine);
  return issue(stream, reduce_scatter_sum_call(size(), rank(), all, mine), [&](ncclComm_t comm, cudaStream_t queue) {
    check_nccl(ncclReduceScatter(all.data, mine.data, static_cast<size_t>(mine.numel()), nccl_type(mine.dtype), ncclSum,
                                 comm, queue),
               "ncclReduceScatter");
  });
}

Pending NcclCommunicator::all_reduce_sum(Stream& stream, const Tensor& data) {
  if (Communicator* group = other(stream)) return group->all_reduce_sum(stream, data);
  return issue(stream, all_reduce_sum_call(data), [&](ncclComm_t comm, cudaStream_t queue) {
    check_nccl(ncclAllReduce(data.data, data.data, static_cast<size_t>(data.numel()), nccl_type(data.dtype), ncclSum,
                             comm, queue),
               "ncclAllReduce");
  });
}

// fn(peer, bytes of the peer's rows, tensor over them) for each peer that has rows.
template <class Fn>
void for_each_segment(const Tensor& rows, std::span<const int64_t> counts, Fn&& fn) {
  int64_t first = 0;
  for (size_t peer = 0; peer < counts.size(); ++peer) {
    const Tensor segment = rows.rows(first, counts[peer]);
    if (segment.num_bytes() > 0) fn(static_cast<int>(peer), static_cast<size_t>(segment.num_bytes()), segment);
    first += counts[peer];
  }
}

Pending NcclCommunicator::all_to_all_rows(Stream& stream, const Tensor& send, std::span<const int64_t> send_counts,
                                          const Tensor& recv, std::span<const int64_t> recv_counts) {
  if (Communicator* group = other(stream)) {
    return group->all_to_all_rows(stream, send, send_counts, recv, recv_counts);
  }
  const Call call = all_to_all_rows_call(size(), send, send_counts, recv, recv_counts);
  Pending pending = issue(stream, call, [&](ncclComm_t comm, cudaStream_t line) {
    send_rows(comm, line, send, send_counts, recv, recv_counts);
  });
  copy(stream, own_rows(send, send_counts), own_rows(recv, recv_counts));  // beside the others, which are on the line
  return pending;
}

void NcclCommunicator::send_rows(ncclComm_t comm, cudaStream_t line, const Tensor& send,
                                 std::span<const int64_t> send_counts, const Tensor& recv,
                                 std::span<const int64_t> recv_counts) const {
  check_nccl(ncclGroupStart(), "ncclGroupStart");
  for_each_segment(send, send_counts, [&](int peer, size_t num_bytes, const Tensor& segment) {
    if (peer != rank()) check_nccl(ncclSend(segment.data, num_bytes, ncclUint8, peer, comm, line), "ncclSend");
  });
  for_each_segment(recv, recv_counts, [&](int peer, size_t num_bytes, const Tensor& segment) {
    if (peer != rank()) check_nccl(ncclRecv(segment.data, num_bytes, ncclUint8, peer, comm, line), "ncclRecv");
  });
  check_nccl(ncclGroupEnd(), "ncclGroupEnd");
}

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(Communicator& host, NcclOptions options) {
  ENGRAM_CHECK_AS(Unavailable, options.card < num_cuda_devices(), "rank ", host.rank(), " wants CUDA device ",
                  options.card, " of ", num_cuda_devices(), "; start at most one rank for each device of a machine");
  setenv("NCCL_NVLS_ENABLE", "0", /*overwrite=*/0);  // NVLink multicast is a choice of the user
  return std::make_unique<NcclCommunicator>(host, std::make_shared<Link>(std::make_shared<Line>(host, options), host));
}

}  // namespace engram

#else

namespace engram {

std::unique_ptr<Communicator> make_nccl_communicator(Communicator&, NcclOptions) {
  throw Unavailable("several ranks on CUDA wanted, but this program was built without NCCL; see docs/dependencies.md");
}

}  // namespace engram

#endif
