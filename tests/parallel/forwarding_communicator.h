#pragma once

#include <memory>
#include <utility>

#include "parallel/communicator.h"

namespace engram::test {

// Passes every call to another group: what a communicator under test that changes one of them begins with.
class ForwardingCommunicator : public Communicator {
 public:
  explicit ForwardingCommunicator(Communicator& inner) : inner_(inner) {}
  explicit ForwardingCommunicator(std::unique_ptr<Communicator> inner) : owned_(std::move(inner)), inner_(*owned_) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  int local_rank() const override { return inner_.local_rank(); }
  std::unique_ptr<Communicator> split(int color) override { return inner_.split(color); }
  void barrier() override { inner_.barrier(); }
  Pending broadcast(Stream& stream, const Tensor& data, int root) override {
    return inner_.broadcast(stream, data, root);
  }
  Pending all_gather(Stream& stream, const Tensor& mine, const Tensor& all) override {
    return inner_.all_gather(stream, mine, all);
  }
  Pending reduce_scatter_sum(Stream& stream, const Tensor& all, const Tensor& mine) override {
    return inner_.reduce_scatter_sum(stream, all, mine);
  }
  Pending all_reduce_sum(Stream& stream, const Tensor& data) override { return inner_.all_reduce_sum(stream, data); }
  Pending all_to_all_rows(Stream& stream, const Tensor& send, std::span<const int64_t> send_counts, const Tensor& recv,
                          std::span<const int64_t> recv_counts) override {
    return inner_.all_to_all_rows(stream, send, send_counts, recv, recv_counts);
  }

 private:
  std::unique_ptr<Communicator> owned_;
  Communicator& inner_;
};

}  // namespace engram::test
