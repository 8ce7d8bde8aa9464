#include "parallel/thread_communicator.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>

#include "kernels/core/buffer.h"
#include "parallel/call.h"
#include "parallel/fold.h"

namespace engram {
namespace {

class ThreadGroup;

// What a rank lays open to its peers between ThreadGroup::meet() and part().
struct Offer {
  Call call;
  const char* data = nullptr;
  std::vector<int64_t> send_counts{}, recv_counts{};
  std::shared_ptr<ThreadGroup> child{};
};

// Where the ranks of one group meet. Every collective is meet(), a look at the offers of all, part().
class ThreadGroup {
 public:
  explicit ThreadGroup(std::vector<int> names) : names_(std::move(names)), offers_(names_.size()) {}

  // Returns when all ranks are here. Throws, on every rank or on none of them, where one failed or left: the verdict
  // is reached once, under the lock, so that nobody reads the memory of a rank that has gone.
  void meet(int rank, const Offer& offer);

  // Returns when all ranks are done with the offers. Never fails: every rank that met comes here.
  void part();

  // A rank that leaves ends every meeting to come, and the one that is waiting for it.
  void leave(int rank, bool failed);

  const Offer& offer(int rank) const { return *offers_[static_cast<size_t>(rank)]; }
  const std::vector<int>& names() const { return names_; }

 private:
  struct Gate {
    size_t num_arrived = 0;
    int64_t num_openings = 0;
  };
  // Counts the caller in and opens the gate after the last; returns whether it opened.
  bool arrive(Gate& gate) {
    if (++gate.num_arrived < names_.size()) return false;
    gate.num_arrived = 0;
    ++gate.num_openings;
    changed_.notify_all();
    return true;
  }
  [[noreturn]] void throw_gone(const Offer& offer) const;

  std::vector<int> names_;  // ranks in the world, for messages
  std::vector<const Offer*> offers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Gate meeting_, parting_;
  int gone_ = -1;  // the first rank that left
  bool gone_failed_ = false;
};

void ThreadGroup::meet(int rank, const Offer& offer) {
  std::unique_lock lock(mutex_);
  if (gone_ >= 0) throw_gone(offer);
  offers_[static_cast<size_t>(rank)] = &offer;
  const int64_t opening = meeting_.num_openings;
  if (arrive(meeting_)) return;
  changed_.wait(lock, [&] { return meeting_.num_openings != opening || gone_ >= 0; });
  if (meeting_.num_openings == opening) throw_gone(offer);
}

void ThreadGroup::part() {
  std::unique_lock lock(mutex_);
  const int64_t opening = parting_.num_openings;
  if (arrive(parting_)) return;
  changed_.wait(lock, [&] { return parting_.num_openings != opening; });
}

void ThreadGroup::leave(int rank, bool failed) {
  const std::lock_guard lock(mutex_);
  if (gone_ >= 0) return;
  gone_ = rank;
  gone_failed_ = failed;
  changed_.notify_all();
}

void ThreadGroup::throw_gone(const Offer& offer) const {
  const std::string where = name_of(offer.call.header.collective);
  const std::string who = "rank " + std::to_string(names_[static_cast<size_t>(gone_)]);
  if (gone_failed_) throw PeerFailed(where + ": " + who + " failed first; its own message says why");
  ENGRAM_FAIL(where, ": ", who, " has left the group");
}

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<ThreadGroup> group, int rank) : group_(std::move(group)), rank_(rank) {}
  ~ThreadCommunicator() override { group_->leave(rank_, std::uncaught_exceptions() > num_exceptions_); }
  ThreadCommunicator(const ThreadCommunicator&) = delete;
  ThreadCommunicator& operator=(const ThreadCommunicator&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(group_->names().size()); }
  std::unique_ptr<Communicator> split(int color) override;
  void barrier() override;
  Pending broadcast(Stream& stream, const Tensor& data, int root) override;
  Pending all_gather(Stream& stream, const Tensor& mine, const Tensor& all) override;
  Pending reduce_scatter_sum(Stream& stream, const Tensor& all, const Tensor& mine) override;
  Pending all_reduce_sum(Stream& stream, const Tensor& data) override;
  Pending all_to_all_rows(Stream& stream, const Tensor& send, std::span<const int64_t> send_counts, const Tensor& recv,
                          std::span<const int64_t> recv_counts) override;

 private:
  // Meets the peers, checks that all calls agree, runs `read` over their offers, and parts.
  void exchange(const Offer& offer, const std::function<void()>& read);
  // Numbers the call now and exchanges in wait().
  Pending issue(Stream& stream, Offer offer, std::function<void()> read);
  void read_rows(const Tensor& recv);
  void check_all_counts() const;

  // Shared, because the last rank to look at the group may be any of them.
  std::shared_ptr<ThreadGroup> group_;
  int rank_;
  int64_t num_calls_ = 0;
  int num_exceptions_ = std::uncaught_exceptions();
};

void ThreadCommunicator::exchange(const Offer& offer, const std::function<void()>& read) {
  group_->meet(rank_, offer);
  std::exception_ptr error;
  try {
    std::vector<CallHeader> calls;
    for (int r = 0; r < size(); ++r) calls.push_back(group_->offer(r).call.header);
    check_calls(offer.call, calls, group_->names());
    read();
  } catch (...) {
    error = std::current_exception();  // thrown after part(): until then peers may read this rank's memory
  }
  group_->part();
  if (error) std::rethrow_exception(error);
}

Pending ThreadCommunicator::issue(Stream& stream, Offer offer, std::function<void()> read) {
  check_host(stream);
  if (is_dry(stream)) {
    check_problem(offer.call);
    return {};
  }
  offer.call.header.sequence = num_calls_++;
  return Pending([this, offer = std::move(offer), read = std::move(read)] { exchange(offer, read); });
}

void ThreadCommunicator::barrier() {
  Stream stream = CpuQueue{};
  issue(stream, {.call = barrier_call()}, [] {}).wait();
}

std::unique_ptr<Communicator> ThreadCommunicator::split(int color) {
  Stream stream = CpuQueue{};
  std::vector<int> members, names;  // ranks here and in the world
  issue(stream, {.call = split_call(color)}, [&] {
    for (int r = 0; r < size(); ++r) {
      if (group_->offer(r).call.header.choice != color) continue;
      members.push_back(r);
      names.push_back(group_->names()[static_cast<size_t>(r)]);
    }
  }).wait();

  Offer offer{.call = split_call(color)};
  if (members[0] == rank_) offer.child = std::make_shared<ThreadGroup>(names);
  std::shared_ptr<ThreadGroup> child;
  issue(stream, std::move(offer), [&] { child = group_->offer(members[0]).child; }).wait();
  const auto at = std::find(members.begin(), members.end(), rank_);
  return std::make_unique<ThreadCommunicator>(std::move(child), static_cast<int>(at - members.begin()));
}

Pending ThreadCommunicator::broadcast(Stream& stream, const Tensor& data, int root) {
  Offer offer{.call = broadcast_call(size(), data, root), .data = static_cast<const char*>(data.data)};
  return issue(stream, std::move(offer), [this, data, root] {
    if (rank_ == root || data.numel() == 0) return;
    std::memcpy(data.data, group_->offer(root).data, static_cast<size_t>(data.num_bytes()));
  });
}

Pending ThreadCommunicator::all_gather(Stream& stream, const Tensor& mine, const Tensor& all) {
  Offer offer{.call = all_gather_call(size(), rank_, mine, all), .data = static_cast<const char*>(mine.data)};
  return issue(stream, std::move(offer), [this, num_bytes = mine.num_bytes(), all] {
    for (int r = 0; r < size() && num_bytes > 0; ++r) {
      char* to = static_cast<char*>(all.data) + r * num_bytes;
      const char* from = group_->offer(r).data;
      if (to != from) std::memcpy(to, from, static_cast<size_t>(num_bytes));
    }
  });
}

Pending ThreadCommunicator::reduce_scatter_sum(Stream& stream, const Tensor& all, const Tensor& mine) {
  Offer offer{.call = reduce_scatter_sum_call(size(), rank_, all, mine), .data = static_cast<const char*>(all.data)};
  return issue(stream, std::move(offer), [this, mine] {
    std::vector<const void*> parts;
    for (int r = 0; r < size(); ++r) parts.push_back(group_->offer(r).data + rank_ * mine.num_bytes());
    fold_sum(mine.dtype, parts, mine.data, mine.numel());
  });
}

Pending ThreadCommunicator::all_reduce_sum(Stream& stream, const Tensor& data) {
  Offer offer{.call = all_reduce_sum_call(data), .data = static_cast<const char*>(data.data)};
  // Peers read data until all have parted, so the sum waits elsewhere.
  const auto sum = std::make_shared<Buffer>(Device::kCpu, data.num_bytes());
  Pending met = issue(stream, std::move(offer), [this, data, sum] {
    std::vector<const void*> parts;
    for (int r = 0; r < size(); ++r) parts.push_back(group_->offer(r).data);
    fold_sum(data.dtype, parts, sum->data(), data.numel());
  });
  if (is_dry(stream)) return met;
  const auto shared = std::make_shared<Pending>(std::move(met));  // Pending cannot be copied, std::function must be
  return Pending([shared, data, sum] {
    shared->wait();
    if (data.numel() > 0) std::memcpy(data.data, sum->data(), static_cast<size_t>(data.num_bytes()));
  });
}

Pending ThreadCommunicator::all_to_all_rows(Stream& stream, const Tensor& send, std::span<const int64_t> send_counts,
                                            const Tensor& recv, std::span<const int64_t> recv_counts) {
  Offer offer{.call = all_to_all_rows_call(size(), send, send_counts, recv, recv_counts),
              .data = static_cast<const char*>(send.data),
              .send_counts = {send_counts.begin(), send_counts.end()},
              .recv_counts = {recv_counts.begin(), recv_counts.end()}};
  return issue(stream, std::move(offer), [this, recv] {
    check_all_counts();
    read_rows(recv);
  });
}

void ThreadCommunicator::check_all_counts() const {
  std::vector<int64_t> send, recv;
  for (int r = 0; r < size(); ++r) {
    const Offer& offer = group_->offer(r);
    send.insert(send.end(), offer.send_counts.begin(), offer.send_counts.end());
    recv.insert(recv.end(), offer.recv_counts.begin(), offer.recv_counts.end());
  }
  check_counts(send, recv, group_->names());
}

void ThreadCommunicator::read_rows(const Tensor& recv) {
  char* to = static_cast<char*>(recv.data);
  for (int r = 0; r < size(); ++r) {
    const Offer& offer = group_->offer(r);
    const auto counts = offer.send_counts.begin();
    const int64_t row_bytes = offer.call.header.row_bytes;
    const int64_t begin = std::accumulate(counts, counts + rank_, int64_t{0}) * row_bytes;
    const int64_t num_bytes = counts[rank_] * row_bytes;
    if (num_bytes > 0) std::memcpy(to, offer.data + begin, static_cast<size_t>(num_bytes));
    to += num_bytes;
  }
}

// The exception that tells why a run ended.
class Outcome {
 public:
  void note(std::exception_ptr error, bool is_peer_failed) {
    const std::lock_guard lock(mutex_);
    if (error_ && (is_peer_failed || !is_peer_failed_)) return;
    error_ = std::move(error);
    is_peer_failed_ = is_peer_failed;
  }
  void rethrow() {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr error_;
  bool is_peer_failed_ = false;
};

}  // namespace

void run_ranks(int num_ranks, const std::function<void(Communicator&)>& body) {
  ENGRAM_CHECK(num_ranks >= 1, "run_ranks: ", num_ranks, " ranks");
  std::vector<int> names(static_cast<size_t>(num_ranks));
  std::iota(names.begin(), names.end(), 0);
  const auto group = std::make_shared<ThreadGroup>(names);
  Outcome outcome;
  const auto run_rank = [&](int rank) {
    try {
      ThreadCommunicator world(group, rank);
      body(world);
    } catch (const PeerFailed&) {
      outcome.note(std::current_exception(), true);
    } catch (...) {
      outcome.note(std::current_exception(), false);
    }
  };
  {
    std::vector<std::jthread> threads;
    try {
      for (const int rank : names) threads.emplace_back(run_rank, rank);
    } catch (...) {  // no thread to be had: the ranks that run must not wait for the others
      group->leave(static_cast<int>(threads.size()), true);
      outcome.note(std::current_exception(), false);
    }
  }
  outcome.rethrow();
}

}  // namespace engram
