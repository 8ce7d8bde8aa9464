#pragma once

#include "parallel/communicator.h"

namespace engram {

// A world of one rank, without any library. Checks what the other back ends check. Host memory moves in wait(), as late
// as with any of them; device memory in the order of the CUDA stream.
class SelfCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::unique_ptr<Communicator> split(int color) override;
  void barrier() override {}
  Pending broadcast(Stream& stream, const Tensor& data, int root) override;
  Pending all_gather(Stream& stream, const Tensor& mine, const Tensor& all) override;
  Pending reduce_scatter_sum(Stream& stream, const Tensor& all, const Tensor& mine) override;
  Pending all_reduce_sum(Stream& stream, const Tensor& data) override;
  Pending all_to_all_rows(Stream& stream, const Tensor& send, std::span<const int64_t> send_counts, const Tensor& recv,
                          std::span<const int64_t> recv_counts) override;
};

}  // namespace engram
