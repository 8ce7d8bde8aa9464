#pragma once

#include "kernels/core/buffer.h"
#include "kernels/core/device.h"
#include "parallel/communicator.h"

namespace engram::test {

// Gives a group of host memory collectives on CUDA streams: by way of the host, waiting for everything. Ranks that are
// threads can so share one card, and the results are the host's, bit for bit.
class StagedCommunicator final : public Communicator {
 public:
  explicit StagedCommunicator(Communicator& inner) : inner_(inner) {}
  explicit StagedCommunicator(std::unique_ptr<Communicator> inner) : owned_(std::move(inner)), inner_(*owned_) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  std::unique_ptr<Communicator> split(int color) override {
    return std::make_unique<StagedCommunicator>(inner_.split(color));
  }
  void barrier() override { inner_.barrier(); }
  Pending broadcast(Stream& stream, const Tensor& data, int root) override {
    const auto stage = stage_of(stream, data);
    return unstage(stream, inner_.broadcast(host_, stage->host, root), stage, nullptr);
  }
  Pending all_gather(Stream& stream, const Tensor& mine, const Tensor& all) override {
    const auto from = stage_of(stream, mine), to = stage_of(stream, all);
    return unstage(stream, inner_.all_gather(host_, from->host, to->host), to, from);
  }
  Pending reduce_scatter_sum(Stream& stream, const Tensor& all, const Tensor& mine) override {
    const auto from = stage_of(stream, all), to = stage_of(stream, mine);
    return unstage(stream, inner_.reduce_scatter_sum(host_, from->host, to->host), to, from);
  }
  Pending all_reduce_sum(Stream& stream, const Tensor& data) override {
    const auto stage = stage_of(stream, data);
    return unstage(stream, inner_.all_reduce_sum(host_, stage->host), stage, nullptr);
  }
  Pending all_to_all_rows(Stream& stream, const Tensor& send, std::span<const int64_t> send_counts, const Tensor& recv,
                          std::span<const int64_t> recv_counts) override {
    const auto from = stage_of(stream, send), to = stage_of(stream, recv);
    return unstage(stream, inner_.all_to_all_rows(host_, from->host, send_counts, to->host, recv_counts), to, from);
  }

 private:
  struct Stage {
    Tensor device, host;
    Buffer memory;  // of host, unless that is where the tensor lies anyway
  };
  using Shared = std::shared_ptr<Stage>;

  static Shared stage_of(Stream& stream, const Tensor& tensor) {
    auto stage = std::make_shared<Stage>(Stage{tensor, tensor, {}});
    if (device_of(stream) == Device::kCpu) return stage;
    stage->memory = Buffer(Device::kCpu, tensor.num_bytes());
    stage->host.data = stage->memory.data();
    copy(stream, tensor, stage->host);
    synchronize(stream);
    return stage;
  }
  static Pending unstage(Stream& stream, Pending pending, const Shared& to, const Shared& from) {
    const auto shared = std::make_shared<Pending>(std::move(pending));
    return Pending([&stream, shared, to, from] {
      shared->wait();
      if (device_of(stream) == Device::kCpu) return;
      copy(stream, to->host, to->device);
      synchronize(stream);
    });
  }

  std::unique_ptr<Communicator> owned_;
  Communicator& inner_;
  Stream host_ = CpuQueue{};
};

}  // namespace engram::test
