#pragma once

#include <string>
#include <vector>

#include "parallel/communicator.h"

namespace engram::test {

// A group, and those split off it, that notes which sums of gradients and which rows this rank issues.
class RecordingCommunicator final : public Communicator {
 public:
  // log gets "dense" for a reduce_scatter_sum() and "rows" for an all_to_all_rows() of floating-point numbers.
  RecordingCommunicator(Communicator& inner, std::vector<std::string>& log) : inner_(inner), log_(log) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  std::unique_ptr<Communicator> split(int color) override {
    return std::unique_ptr<Communicator>(new RecordingCommunicator(inner_.split(color), log_));
  }
  void barrier() override { inner_.barrier(); }
  Pending broadcast(Stream& stream, const Tensor& data, int root) override {
    return inner_.broadcast(stream, data, root);
  }
  Pending all_gather(Stream& stream, const Tensor& mine, const Tensor& all) override {
    return inner_.all_gather(stream, mine, all);
  }
  Pending reduce_scatter_sum(Stream& stream, const Tensor& all, const Tensor& mine) override {
    log_.emplace_back("dense");
    return inner_.reduce_scatter_sum(stream, all, mine);
  }
  Pending all_reduce_sum(Stream& stream, const Tensor& data) override { return inner_.all_reduce_sum(stream, data); }
  Pending all_to_all_rows(Stream& stream, const Tensor& send, std::span<const int64_t> send_counts, const Tensor& recv,
                          std::span<const int64_t> recv_counts) override {
    if (recv.dtype == DType::kFloat32 || recv.dtype == DType::kFloat64) log_.emplace_back("rows");
    return inner_.all_to_all_rows(stream, send, send_counts, recv, recv_counts);
  }

 private:
  RecordingCommunicator(std::unique_ptr<Communicator> inner, std::vector<std::string>& log)
      : owned_(std::move(inner)), inner_(*owned_), log_(log) {}

  std::unique_ptr<Communicator> owned_;
  Communicator& inner_;
  std::vector<std::string>& log_;
};

}  // namespace engram::test
