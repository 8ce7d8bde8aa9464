#include "parallel/self_communicator.h"

#include <cstring>

#include "kernels/core/device.h"
#include "parallel/call.h"

namespace engram {
namespace {

constexpr int kName[] = {0};

Pending move_bytes(Stream& stream, const Tensor& from, const Tensor& to) {
  if (is_dry(stream)) return {};
  if (device_of(stream) == Device::kCuda) {
    if (from.data != to.data) copy(stream, from, to);
    return {};
  }
  return Pending([from, to] {
    if (from.numel() > 0) std::memmove(to.data, from.data, static_cast<size_t>(from.num_bytes()));
  });
}

}  // namespace

std::unique_ptr<Communicator> SelfCommunicator::split(int) { return std::make_unique<SelfCommunicator>(); }

Pending SelfCommunicator::broadcast(Stream& stream, const Tensor& data, int root) {
  check_problem(broadcast_call(1, data, root));
  return move_bytes(stream, data, data);
}

Pending SelfCommunicator::all_gather(Stream& stream, const Tensor& mine, const Tensor& all) {
  check_problem(all_gather_call(1, 0, mine, all));
  return move_bytes(stream, mine, all);
}

Pending SelfCommunicator::reduce_scatter_sum(Stream& stream, const Tensor& all, const Tensor& mine) {
  check_problem(reduce_scatter_sum_call(1, 0, all, mine));
  return move_bytes(stream, all, mine);
}

Pending SelfCommunicator::all_reduce_sum(Stream& stream, const Tensor& data) {
  check_problem(all_reduce_sum_call(data));
  return move_bytes(stream, data, data);
}

Pending SelfCommunicator::all_to_all_rows(Stream& stream, const Tensor& send, std::span<const int64_t> send_counts,
                                          const Tensor& recv, std::span<const int64_t> recv_counts) {
  check_problem(all_to_all_rows_call(1, send, send_counts, recv, recv_counts));
  check_counts(send_counts, recv_counts, kName);
  return move_bytes(stream, send, recv);
}

}  // namespace engram
