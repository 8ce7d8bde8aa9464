#include "parallel/expert_exchange.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/device.h"

namespace engram {
namespace {

Tensor take(ReusedBuffer& memory, Stream& stream, DType dtype, int64_t num_rows, int64_t width) {
  if (is_dry(stream)) return {nullptr, dtype, {num_rows, width}};
  return memory.take(device_of(stream), dtype, {num_rows, width});
}

}  // namespace

ExpertExchange::ExpertExchange(Communicator& group, const ExpertShard& shard, double headroom)
    : group_(group), shard_(shard), headroom_(headroom) {
  ENGRAM_CHECK(shard.num_ranks >= 1 && shard.num_experts % shard.num_ranks == 0, "expert exchange: got ",
               shard.num_experts, " experts on ", shard.num_ranks, " ranks, wanted equally many on each");
}

int64_t ExpertExchange::most_received(int64_t num_rows) const {
  const double factor = std::min(headroom_, static_cast<double>(shard_.num_ranks));  // there are no more than all rows
  return static_cast<int64_t>(std::ceil(static_cast<double>(num_rows) * factor));
}

// How many of this rank's rows are for each rank.
std::vector<int64_t> ExpertExchange::counts_by_rank(Stream& stream, const Tensor& offsets) {
  const Tensor host = offsets_memory_.take_host(device_of(stream), DType::kInt64, {shard_.num_experts + 1});
  copy(stream, offsets, host);
  synchronize(stream);
  const auto starts = host_span<const int64_t>(host);
  std::vector<int64_t> counts;
  for (int64_t first = 0; first < shard_.num_experts; first += shard_.count()) {
    counts.push_back(starts[static_cast<size_t>(first + shard_.count())] - starts[static_cast<size_t>(first)]);
  }
  return counts;
}

ExpertRoute ExpertExchange::route(Stream& stream, const Tensor& offsets, int64_t num_rows) {
  check_tensor("expert exchange: offsets", offsets, DType::kInt64, {shard_.num_experts + 1});
  if (is_dry(stream)) return {.sent = {}, .received = {}, .num_received = most_received(num_rows)};

  const int64_t num_ranks = shard_.num_ranks;
  ExpertRoute route{.sent = counts_by_rank(stream, offsets), .received = {}};
  std::vector<int64_t> counts(static_cast<size_t>(num_ranks * num_ranks));  // [source, destination]
  const Tensor all(counts.data(), DType::kInt64, {num_ranks * num_ranks});
  group_.all_gather(host_, Tensor(route.sent.data(), DType::kInt64, {num_ranks}), all).wait();

  std::vector<int64_t> sent(static_cast<size_t>(num_ranks)), received = sent;
  for (size_t from = 0; from < sent.size(); ++from) {
    for (size_t to = 0; to < sent.size(); ++to) {
      sent[from] += counts[from * sent.size() + to];
      received[to] += counts[from * sent.size() + to];
    }
    route.received.push_back(counts[from * sent.size() + static_cast<size_t>(shard_.rank)]);
  }
  const int64_t most_sent = std::ranges::max(sent), room = most_received(most_sent);
  const auto busiest = std::ranges::max_element(received);
  ENGRAM_CHECK(*busiest <= room, "expert exchange: rank ", busiest - received.begin(), " of the ", num_ranks,
               " that share the experts would get ", *busiest, " rows and has room for ", room,
               ", parallel.expert_headroom ", headroom_, " times the ", most_sent, " that a rank sends; raise it");
  route.num_received = received[static_cast<size_t>(shard_.rank)];
  return route;
}

Pending ExpertExchange::dispatch(Stream& stream, const Tensor& rows, const ExpertRoute& route, const Tensor& arrived) {
  check_tensor("expert exchange: arrived rows", arrived, rows.dtype, {route.num_received, rows.size(1)});
  if (is_dry(stream)) return {};
  return group_.all_to_all_rows(stream, rows, route.sent, arrived, route.received);
}

Pending ExpertExchange::combine(Stream& stream, const Tensor& arrived, const ExpertRoute& route, const Tensor& rows) {
  check_tensor("expert exchange: arrived rows", arrived, rows.dtype, {route.num_received, rows.size(1)});
  if (is_dry(stream)) return {};
  return group_.all_to_all_rows(stream, arrived, route.received, rows, route.sent);
}

Tensor ExpertExchange::take_rows(Stream& stream, DType dtype, int64_t num_rows, int64_t width) {
  return take(rows_memory_, stream, dtype, num_rows, width);
}

Tensor ExpertExchange::take_arrived(Stream& stream, DType dtype, int64_t num_rows, int64_t width) {
  return take(arrived_memory_, stream, dtype, num_rows, width);
}

}  // namespace engram
