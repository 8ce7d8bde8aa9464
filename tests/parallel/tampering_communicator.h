#pragma once

#include <functional>
#include <memory>

#include "parallel/row_messages.h"
#include "tests/parallel/forwarding_communicator.h"

namespace engram::test {

// The messages of row exchange, told apart by their form.
enum class RowMessageKind { kHeaders, kSlots, kRows, kOther };

inline RowMessageKind kind_of(const Tensor& message) {
  const bool is_words = message.dtype == DType::kInt64;
  if (is_words && message.rank == 2 && message.size(1) == kHeaderWords) return RowMessageKind::kHeaders;
  if (is_words && message.rank == 1) return RowMessageKind::kSlots;
  return is_words ? RowMessageKind::kOther : RowMessageKind::kRows;
}

// A group on which this rank receives damaged messages: the n-th message of a kind is changed when it arrives.
class TamperingCommunicator final : public ForwardingCommunicator {
 public:
  using Change = std::function<void(const Tensor& received)>;

  explicit TamperingCommunicator(Communicator& inner) : ForwardingCommunicator(inner) {}

  // change(received) runs once, after `skip` messages of the kind have passed unharmed.
  void damage(RowMessageKind kind, int skip, Change change) {
    kind_ = kind;
    skip_ = skip;
    change_ = std::move(change);
  }
  // True once the change was made.
  bool has_damaged() const { return has_damaged_; }

  Pending all_to_all_rows(Stream& stream, const Tensor& send, std::span<const int64_t> send_counts, const Tensor& recv,
                          std::span<const int64_t> recv_counts) override {
    Pending pending = ForwardingCommunicator::all_to_all_rows(stream, send, send_counts, recv, recv_counts);
    if (!change_ || kind_of(recv) != kind_ || skip_-- > 0) return pending;
    // Pending cannot be copied, which std::function asks for.
    auto shared = std::make_shared<Pending>(std::move(pending));
    return Pending([this, shared, recv, change = std::exchange(change_, nullptr)] {
      shared->wait();
      change(recv);
      has_damaged_ = true;
    });
  }

 private:
  RowMessageKind kind_ = RowMessageKind::kOther;
  int skip_ = 0;
  Change change_;
  bool has_damaged_ = false;
};

}  // namespace engram::test
