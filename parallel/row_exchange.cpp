#include "parallel/row_exchange.h"

#include <cassert>
#include <numeric>
#include <utility>

#include "kernels/convert.h"
#include "kernels/core/device.h"
#include "kernels/row_gather.h"
#include "kernels/row_keys.h"
#include "kernels/row_segment_sum.h"
#include "kernels/unique_rows.h"

namespace engram {
namespace {

using detail::RowMessage;
using detail::RowTransfer;

int64_t sum_of(std::span<const int64_t> counts) { return std::accumulate(counts.begin(), counts.end(), int64_t{0}); }

// One header a row.
Tensor tensor_of(std::vector<RowHeader>& headers) {
  return {headers.data(), DType::kInt64, {static_cast<int64_t>(headers.size()), kHeaderWords}};
}

Tensor tensor_of(std::vector<int64_t>& words) {
  return {words.data(), DType::kInt64, {static_cast<int64_t>(words.size()), 1}};
}

// fn(peer, first row, number of rows) for each peer's segment of a message.
template <class Fn>
void for_each_peer(std::span<const int64_t> counts, Fn&& fn) {
  int64_t first = 0;
  for (size_t peer = 0; peer < counts.size(); ++peer) {
    fn(static_cast<int>(peer), first, counts[peer]);
    first += counts[peer];
  }
}

RowSegments first_rows(const RowSegments& segments, int64_t num_rows) {
  return {.order = segments.order, .offsets = segments.offsets.rows(0, num_rows + 1)};
}

// Hash of the rows of every peer's segment.
std::vector<int64_t> hash_segments(const RowMessage& message) {
  std::vector<int64_t> hashes;
  for_each_peer(message.counts, [&](int, int64_t first, int64_t count) {
    const auto slots = host_span<const int64_t>(message.slots.rows(first, count));
    hashes.push_back(hash_rows(slots, message.rows.rows(first, count)));
  });
  return hashes;
}

}  // namespace

RowExchange::RowExchange(Communicator& group, const RowLayout& layout, RowType row_type)
    : group_(group),
      layout_(layout),
      row_type_(row_type),
      ones_(static_cast<size_t>(group.size()), 1),
      sent_headers_(ones_.size()),
      received_headers_(ones_.size()) {
  ENGRAM_CHECK(group.size() == layout.num_shards(), "row exchange: got a layout of ", layout.num_shards(),
               " shards, wanted one for each of the group's ", group.size(), " ranks");
  ENGRAM_CHECK(row_type.width >= 1, "row exchange: got row width ", row_type.width, ", wanted at least 1");
}

void RowExchange::plan(Stream& stream, const Tensor& rows, RowPlan& plan) {
  begin_plan(stream, rows, plan);
  finish_plan(stream, plan);
  count_own(plan);
}

// Keys are owner * stride + slot.
void RowExchange::begin_plan(Stream& stream, const Tensor& rows, RowPlan& plan) {
  check_tensor("row exchange: rows", rows, DType::kInt64, {-1});
  assert(!plan.is_begun_);  // somebody's rows would get lost
  plan.is_made_ = false;
  plan.is_begun_ = plan.is_own_counted_ = true;
  plan.is_local_ = device_of(stream) == Device::kCuda && group_.size() == 1;
  plan.stats_ = {};
  plan.rows_ = rows;
  const Device device = device_of(stream);
  const int64_t n = rows.size(0), stride = layout_.num_slots(0);
  const RowBlocks blocks{.block_rows = layout_.block_rows(), .num_shards = group_.size(), .shard_slots = stride};
  upload_layout(stream);
  const Tensor keys = plan.keys_memory_.take(device, DType::kInt64, {n});
  const Tensor unique = plan.unique_memory_.take(device, DType::kInt64, {n});
  const Tensor counts = plan.counts_memory_.take(device, DType::kInt64, {3});
  plan.inverse_ = plan.inverse_memory_.take(device, DType::kInt64, {n});
  row_keys(stream, rows, blocks, first_block_, table_rows_, keys, counts.rows(0, 2));
  plan.segments_ = {.order = plan.order_memory_.take(device, DType::kInt32, {n}),
                    .offsets = plan.offsets_memory_.take(device, DType::kInt32, {n + 1})};
  unique_rows(stream, keys, stride * group_.size(), unique, plan.inverse_, plan.segments_, counts.rows(2, 1));
  plan.unique_keys_ = unique;

  plan.host_counts_ = plan.host_counts_memory_.take_host(device, DType::kInt64, {3});
  copy(stream, counts, plan.host_counts_);
  if (!plan.is_local_) {
    plan.sent_slots_ = plan.sent_memory_.take_host(device, DType::kInt64, {n});
    copy(stream, unique, plan.sent_slots_);
  }
  plan.counted_.record(stream);
}

void RowExchange::finish_plan(Stream& stream, RowPlan& plan) {
  ENGRAM_CHECK(std::exchange(plan.is_begun_, false), "row exchange: a plan is finished that was not begun");
  ++num_plans_;
  const std::string row_problem = take_unique(stream, plan);
  if (plan.is_local_) {
    vote(group_, row_problem);
    serve_itself(plan);
  } else {
    const std::string header_problem = exchange_headers(plan);
    vote(group_, row_problem.empty() ? header_problem : row_problem);
    vote(group_, exchange_slots(device_of(stream), plan));
    find_own_unique(stream, plan);
  }
  plan.is_made_ = true;
}

// A bad row was left out, so that this rank stays in step with the others until the vote.
std::string RowExchange::take_unique(Stream& stream, RowPlan& plan) {
  plan.counted_.synchronize();
  const auto found = host_span<const int64_t>(plan.host_counts_);
  const int64_t n = plan.num_requests(), first_wrong = found[0];
  plan.stats_.masked = found[1];
  plan.stats_.requests = n - found[1];
  plan.stats_.unique = found[2];
  plan.unique_keys_ = plan.unique_keys_.rows(0, plan.stats_.unique);
  plan.segments_ = first_rows(plan.segments_, plan.stats_.unique);
  if (first_wrong == n) return "";
  int64_t row = 0;
  copy(stream, plan.rows_.rows(first_wrong, 1), Tensor(&row, DType::kInt64, {1}));
  synchronize(stream);
  return "row exchange: rank " + std::to_string(group_.rank()) + " asks for row " + std::to_string(row) +
         " at position " + std::to_string(first_wrong) + ", wanted a row of a table (below " +
         std::to_string(layout_.end_row()) + ", no padding) or -1";
}

void RowExchange::upload_layout(Stream& stream) {
  if (!first_block_.empty()) return;
  const auto upload = [&](std::span<const int64_t> words, ReusedBuffer& memory) {
    const Tensor target = memory.take(device_of(stream), DType::kInt64, {std::ssize(words)});
    copy(stream, Tensor(const_cast<int64_t*>(words.data()), DType::kInt64, {std::ssize(words)}), target);
    return target;
  };
  first_block_ = upload(layout_.first_blocks(), first_block_memory_);
  table_rows_ = upload(layout_.rows_per_table(), table_rows_memory_);
}

// One rank alone owns all that it asks for, under keys that are slots.
void RowExchange::serve_itself(RowPlan& plan) const {
  plan.stats_.served = plan.stats_.own_unique = plan.stats_.unique;
  plan.send_counts_ = plan.request_counts_ = {plan.stats_.unique};
  plan.request_slots_ = plan.own_slots_ = plan.unique_keys_;
}

// The unique keys, on the host, become slots of their owners.
void RowExchange::split_by_owner(RowPlan& plan) const {
  plan.sent_slots_ = plan.sent_slots_.rows(0, plan.num_unique());
  plan.send_counts_.assign(ones_.size(), 0);
  const int64_t stride = layout_.num_slots(0);
  int64_t owner = 0;
  for (int64_t& key : host_span<int64_t>(plan.sent_slots_)) {
    while (key >= (owner + 1) * stride) ++owner;
    ++plan.send_counts_[static_cast<size_t>(owner)];
    key -= owner * stride;
  }
}

std::string RowExchange::exchange_headers(RowPlan& plan) {
  split_by_owner(plan);
  for_each_peer(plan.send_counts_, [&](int peer, int64_t first, int64_t count) {
    const auto slots = host_span<const int64_t>(plan.sent_slots_.rows(first, count));
    RowHeader header = header_between(group_.rank(), peer);
    header.count = count;
    header.slot_sum = sum_slots(slots);
    header.slot_hash = hash_slots(slots);
    header.close();
    sent_headers_[static_cast<size_t>(peer)] = header;
  });
  move(host_, {{}, tensor_of(sent_headers_), ones_}, {{}, tensor_of(received_headers_), ones_}, plan.stats_).wait();

  plan.request_counts_.clear();
  std::string problem;
  for (int peer = 0; peer < group_.size(); ++peer) {
    const RowHeader& header = received_headers_[static_cast<size_t>(peer)];
    plan.request_counts_.push_back(header.count);
    if (!problem.empty()) continue;
    problem = from(peer, find_problem(header, header_between(peer, group_.rank()), num_slots()));
  }
  return problem;
}

std::string RowExchange::exchange_slots(Device device, RowPlan& plan) {
  plan.stats_.served = sum_of(plan.request_counts_);
  plan.received_slots_ = plan.received_memory_.take_host(device, DType::kInt64, {plan.stats_.served});
  move(host_, {{}, plan.sent_slots_, plan.send_counts_}, {{}, plan.received_slots_, plan.request_counts_}, plan.stats_)
      .wait();
  std::string problem;
  for_each_peer(plan.request_counts_, [&](int peer, int64_t first, int64_t count) {
    if (!problem.empty()) return;
    const auto slots = host_span<const int64_t>(plan.received_slots_.rows(first, count));
    problem = from(peer, find_problem(slots, received_headers_[static_cast<size_t>(peer)], num_slots()));
  });
  return problem;
}

void RowExchange::find_own_unique(Stream& stream, RowPlan& plan) {
  const Device device = device_of(stream);
  const int64_t num_served = plan.stats_.served;
  plan.request_slots_ = plan.request_memory_.take(device, DType::kInt64, {num_served});
  copy(stream, plan.received_slots_, plan.request_slots_);
  const Tensor unique = plan.own_unique_memory_.take(device, DType::kInt64, {num_served});
  const Tensor count = plan.counts_memory_.take(device, DType::kInt64, {1});
  plan.own_inverse_ = plan.own_inverse_memory_.take(device, DType::kInt64, {num_served});
  plan.own_segments_ = {.order = plan.own_order_memory_.take(device, DType::kInt32, {num_served}),
                        .offsets = plan.own_offsets_memory_.take(device, DType::kInt32, {num_served + 1})};
  unique_rows(stream, plan.request_slots_, num_slots(), unique, plan.own_inverse_, plan.own_segments_, count);
  plan.own_slots_ = unique;
  plan.is_own_counted_ = false;
  copy(stream, count, plan.host_counts_.rows(0, 1));
  plan.counted_.record(stream);
}

void RowExchange::count_own(RowPlan& plan) const {
  if (std::exchange(plan.is_own_counted_, true)) return;
  plan.counted_.synchronize();
  plan.stats_.own_unique = host_span<const int64_t>(plan.host_counts_)[0];
  plan.own_slots_ = plan.own_slots_.rows(0, plan.stats_.own_unique);
  plan.own_segments_ = first_rows(plan.own_segments_, plan.stats_.own_unique);
}

PendingRows RowExchange::begin_fetch(Stream& stream, const Tensor& weight, RowPlan& plan) {
  ENGRAM_CHECK(plan.is_made_, "row exchange: fetch under a plan that was not made");
  check_rows("row exchange: weight", weight, num_slots());
  const Tensor served = take_served(stream, plan);
  row_gather(stream, weight, plan.request_slots_, served);
  return send_served(stream, served, plan);
}

PendingRows RowExchange::begin_fetch_staged(Stream& stream, const Tensor& own_rows, RowPlan& plan) {
  ENGRAM_CHECK(plan.is_made_, "row exchange: fetch under a plan that was not made");
  count_own(plan);
  check_rows("row exchange: own rows", own_rows, plan.num_own_unique());
  const Tensor served = take_served(stream, plan);
  if (!plan.is_local_)
    row_gather(stream, own_rows, plan.own_inverse_, served);
  else if (own_rows.dtype == served.dtype)
    copy(stream, own_rows, served);
  else
    convert(stream, own_rows, served);
  return send_served(stream, served, plan);
}

void RowExchange::check_rows(const char* what, const Tensor& rows, int64_t num_rows) const {
  const bool rounds = row_type_.dtype == DType::kBFloat16 && rows.dtype == DType::kFloat32;
  check_tensor(what, rows, rounds ? rows.dtype : row_type_.dtype, {num_rows, row_type_.width});
}

Tensor RowExchange::take_served(const Stream& stream, RowPlan& plan) const {
  return plan.served_memory_.take(device_of(stream), row_type_.dtype, {plan.num_served(), row_type_.width});
}

PendingRows RowExchange::send_served(Stream& stream, const Tensor& served, RowPlan& plan) {
  PendingRows pending;
  pending.exchange_ = this;
  pending.result_ = served;
  if (plan.is_local_) return pending;
  const Tensor rows = plan.rows_memory_.take(device_of(stream), row_type_.dtype, {plan.num_unique(), row_type_.width});
  pending.transfer_ = begin(stream, {plan.received_slots_, served, plan.request_counts_},
                            {plan.sent_slots_, rows, plan.send_counts_}, plan);
  pending.result_ = rows;
  return pending;
}

PendingRows RowExchange::return_gradients(Stream& stream, const Tensor& sums, RowPlan& plan) {
  ENGRAM_CHECK(plan.is_made_, "row exchange: gradients returned under a plan that was not made");
  const Device device = device_of(stream);
  const int64_t width = row_type_.width;
  check_tensor("row exchange: gradient sums", sums, accumulator(row_type_.dtype), {plan.num_unique(), width});
  PendingRows pending;
  pending.exchange_ = this;
  pending.result_ = sums;
  if (plan.is_local_) return pending;
  count_own(plan);
  const Tensor received = plan.received_sums_memory_.take(device, sums.dtype, {plan.num_served(), width});
  pending.result_ = plan.merged_memory_.take(device, sums.dtype, {plan.num_own_unique(), width});
  pending.merging_ = plan.own_segments_;
  pending.transfer_ = begin(stream, {plan.sent_slots_, sums, plan.send_counts_},
                            {plan.received_slots_, received, plan.request_counts_}, plan);
  return pending;
}

// Peers lie one after the other in the requests, so ascending order is rank order.
Tensor PendingRows::wait(Stream& stream) {
  exchange_->finish(transfer_);
  if (!merging_.order.empty()) row_segment_sum(stream, transfer_.received.rows, merging_, result_);
  return result_;
}

RowTransfer RowExchange::begin(Stream& stream, const RowMessage& sent, const RowMessage& received, RowPlan& plan) {
  RowTransfer transfer;
  transfer.received = received;
  transfer.plan = &plan;
  transfer.rows = move(stream, sent, received, plan.stats_);
  if (device_of(stream) != Device::kCpu) return transfer;
  transfer.is_hashed = true;
  plan.sent_hashes_ = hash_segments(sent);
  plan.received_hashes_.resize(ones_.size());
  transfer.hashes = move(stream, {{}, tensor_of(plan.sent_hashes_), ones_},
                         {{}, tensor_of(plan.received_hashes_), ones_}, plan.stats_);
  return transfer;
}

void RowExchange::finish(RowTransfer& transfer) {
  transfer.rows.wait();
  if (!transfer.is_hashed) return;
  transfer.hashes.wait();
  const std::vector<int64_t> hashes = hash_segments(transfer.received);
  std::string problem;
  for (size_t peer = 0; peer < hashes.size() && problem.empty(); ++peer) {
    const int64_t wanted = transfer.plan->received_hashes_[peer];
    if (hashes[peer] == wanted) continue;
    problem = from(static_cast<int>(peer),
                   "row hash: got " + std::to_string(hashes[peer]) + ", wanted " + std::to_string(wanted));
  }
  vote(group_, problem);
}

Pending RowExchange::move(Stream& stream, const RowMessage& sent, const RowMessage& received, RowStats& stats) {
  const int64_t num_rows = sum_of(sent.counts), own_rows = sent.counts[static_cast<size_t>(group_.rank())];
  if (num_rows > 0) stats.bytes_sent += sent.rows.num_bytes() / num_rows * (num_rows - own_rows);
  return group_.all_to_all_rows(stream, sent.rows, sent.counts, received.rows, received.counts);
}

RowHeader RowExchange::header_between(int source, int destination) const {
  RowHeader header;
  header.plan = num_plans_;
  header.route = int64_t{source} << 32 | destination;
  header.row_type = pack_row_type(row_type_.width, row_type_.dtype);
  header.layout = static_cast<int64_t>(layout_.digest());
  return header;
}

std::string RowExchange::from(int peer, const std::string& problem) const {
  if (problem.empty()) return "";
  return "row exchange: rank " + std::to_string(group_.rank()) + " got a damaged message from rank " +
         std::to_string(peer) + ", " + problem + "; the tables are unchanged";
}

}  // namespace engram
