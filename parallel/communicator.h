#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// A transfer that was issued; wait() finishes it. Must be waited for before it is destroyed, unless an exception is
// on its way. Until then neither its source nor its destination may be touched.
class [[nodiscard]] Pending {
 public:
  Pending() = default;
  explicit Pending(std::function<void()> finish) : finish_(std::move(finish)) {}
  Pending(Pending&& other) noexcept : finish_(std::exchange(other.finish_, nullptr)) {}
  Pending& operator=(Pending&& other) noexcept {
    assert(!finish_);  // overwriting a transfer in flight
    finish_ = std::exchange(other.finish_, nullptr);
    return *this;
  }
  ~Pending();

  void wait() {
    if (auto finish = std::exchange(finish_, nullptr)) finish();
  }

 private:
  std::function<void()> finish_;
};

// The ranks of one group and their collectives.
//
// Every rank of a group issues the same calls in the same order, and waits for them in one order that is the same on
// all ranks; ranks that share several groups keep both orders over all of them. Both sides of a call are checked:
// where collective, dtype, size, root or counts disagree, every rank throws an Error of the same text; where the
// arguments of one rank contradict each other, that rank throws Error and the others PeerFailed. Whether issue or
// wait() throws depends on the back end. No data has moved then, and the group can still be used.
//
// A rank that throws anything else ends the others with PeerFailed (threads), or its main() ends them (MpiSession).
//
// Sums are folded in rank order, ((r0 + r1) + r2) + ..., in the dtype of the tensor: the same bits on every back end of
// host memory. What is different on CUDA streams, nccl_communicator.h says.
// On a dry stream calls check their own arguments, and neither meet nor move anything.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  // The number of this rank among those on its machine. 0 for ranks that are threads.
  virtual int local_rank() const { return 0; }

  // The group of all ranks that give the same color, in the order of their ranks here.
  virtual std::unique_ptr<Communicator> split(int color) = 0;

  // Returns when every rank has called it.
  virtual void barrier() = 0;

  // data of rank `root` to every rank.
  virtual Pending broadcast(Stream& stream, const Tensor& data, int root) = 0;

  // all = the `mine` of every rank, one after the other: all.numel() = size() * mine.numel(). mine may be part rank()
  // of all.
  virtual Pending all_gather(Stream& stream, const Tensor& mine, const Tensor& all) = 0;

  // mine = part rank() of the sum of every rank's `all`: all.numel() = size() * mine.numel(). mine may be part rank()
  // of all, whose other parts stay as they are. float32, float64, int32 (wraps), int64 (wraps).
  virtual Pending reduce_scatter_sum(Stream& stream, const Tensor& all, const Tensor& mine) = 0;

  // data = the sum of every rank's data, in place: every rank gets the same bits. float32, float64, int32 (wraps),
  // int64 (wraps). For small data: the host back ends hold one copy per rank until wait().
  virtual Pending all_reduce_sum(Stream& stream, const Tensor& data) = 0;

  // send [sum(send_counts), ...] and recv [sum(recv_counts), ...] hold rows of one size, ordered by peer. Rows for
  // peer p become rows of recv from this rank at p; recv_counts[p] must be what p sends. send and recv do not overlap;
  // the spans of counts are read before this returns.
  virtual Pending all_to_all_rows(Stream& stream, const Tensor& send, std::span<const int64_t> send_counts,
                                  const Tensor& recv, std::span<const int64_t> recv_counts) = 0;
};

// Built on the calls above, for small host data; every rank gets the same bits. T is int64_t, float or double. The sum
// is folded in rank order; a NaN of any rank is the maximum.
template <class T>
void all_reduce_sum(Communicator& group, std::span<T> values);
template <class T>
void all_reduce_max(Communicator& group, std::span<T> values);

// The text that rank 0 gives, on every rank.
std::string broadcast_text(Communicator& group, const std::string& text);

// The texts of all ranks, on every rank.
std::vector<std::string> gather_texts(Communicator& group, const std::string& text);

// Every rank says what is wrong with its own input, or "" for nothing. If any rank found something, all ranks throw:
// those that did their own Error, the others PeerFailed with the first such rank's words. To be called before anything
// that would leave peers waiting for a rank that gave up.
void vote(Communicator& group, const std::string& problem);

// Runs the body, which calls no collective, on every rank, and votes: where it throws on any rank, all throw, those
// ranks their own exception (IoError for one of the standard library about files), the others PeerFailed.
void together(Communicator& group, const std::function<void()>& body);

}  // namespace engram
