#pragma once

#include <string>
#include <vector>

#include "tests/parallel/forwarding_communicator.h"

namespace engram::test {

// A group, and those split off it, that notes which sums of gradients and which rows this rank issues.
class RecordingCommunicator final : public ForwardingCommunicator {
 public:
  // log gets "dense" for a reduce_scatter_sum() and "rows" for an all_to_all_rows() of floating-point numbers.
  RecordingCommunicator(Communicator& inner, std::vector<std::string>& log)
      : ForwardingCommunicator(inner), log_(log) {}

  std::unique_ptr<Communicator> split(int color) override {
    return std::unique_ptr<Communicator>(new RecordingCommunicator(ForwardingCommunicator::split(color), log_));
  }
  Pending reduce_scatter_sum(Stream& stream, const Tensor& all, const Tensor& mine) override {
    log_.emplace_back("dense");
    return ForwardingCommunicator::reduce_scatter_sum(stream, all, mine);
  }
  Pending all_to_all_rows(Stream& stream, const Tensor& send, std::span<const int64_t> send_counts, const Tensor& recv,
                          std::span<const int64_t> recv_counts) override {
    if (recv.dtype == DType::kFloat32 || recv.dtype == DType::kFloat64) log_.emplace_back("rows");
    return ForwardingCommunicator::all_to_all_rows(stream, send, send_counts, recv, recv_counts);
  }

 private:
  RecordingCommunicator(std::unique_ptr<Communicator> inner, std::vector<std::string>& log)
      : ForwardingCommunicator(std::move(inner)), log_(log) {}

  std::vector<std::string>& log_;
};

}  // namespace engram::test
