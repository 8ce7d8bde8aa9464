#include "trainer/staged_rows.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <functional>
#include <utility>

#include "kernels/core/device.h"
#include "kernels/core/host_threads.h"
#include "kernels/row_gather.h"

namespace engram {
namespace {

// The same memory as rows of 32-bit words.
Tensor as_words(const Tensor& rows) {
  int64_t row_bytes = size_of(rows.dtype);
  for (int axis = 1; axis < rows.rank; ++axis) row_bytes *= rows.size(axis);
  return {rows.data, DType::kFloat32, {rows.size(0), row_bytes / size_of(DType::kFloat32)}};
}

// Words as rows of the type and width that `like` has.
Tensor as_rows(const Tensor& words, const Tensor& like) {
  if (like.rank == 1) return {words.data, like.dtype, {words.size(0)}};
  return {words.data, like.dtype, {words.size(0), like.size(1)}};
}

void prefetch(const char* row, int64_t num_bytes) {
  constexpr int64_t kLineBytes = 64;
  for (int64_t byte = 0; byte < num_bytes; byte += kLineBytes) __builtin_prefetch(row + byte);
}

enum class Direction { kFromTable, kToTable };

// Copies table[slots[i]] to rows[i], or back.
void copy_rows(Direction direction, const Tensor& table, std::span<const int64_t> slots, const Tensor& rows,
               int num_threads) {
  constexpr int64_t kAhead = 4;  // enough to hide that the rows of the table lie far apart
  const int64_t row_bytes = table.size(1) * size_of(table.dtype);
  const auto table_row = [&](int64_t i) {
    return static_cast<char*>(table.data) + slots[static_cast<size_t>(i)] * row_bytes;
  };
  for_each_part(num_threads, std::ssize(slots), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (i + kAhead < end) prefetch(table_row(i + kAhead), row_bytes);
      char *from = table_row(i), *to = static_cast<char*>(rows.data) + i * row_bytes;
      if (direction == Direction::kToTable) std::swap(from, to);
      std::memcpy(to, from, static_cast<size_t>(row_bytes));
    }
  });
}

}  // namespace

StagedRows::StagedRows(Device device, std::vector<Tensor> table, int num_threads)
    : device_(device), num_threads_(num_threads), table_(std::move(table)), staging_(table_.size()) {
  for (WorkingSet& set : sets_) {
    set.memory.resize(table_.size());
    set.arrays.resize(table_.size());
  }
}

std::vector<int64_t> StagedRows::download(Stream& stream, const Tensor& slots) {
  const Tensor host = slots_memory_.take_host(device_, DType::kInt64, {slots.size(0)});
  copy(stream, slots, host);
  synchronize(stream);
  const auto words = host_span<const int64_t>(host);
  return {words.begin(), words.end()};
}

Tensor StagedRows::upload(Stream& stream, const std::vector<int64_t>& numbers, Upload& memory) const {
  const Tensor from = memory.host_memory.take_host(device_, DType::kInt64, {std::ssize(numbers)});
  const Tensor to = memory.device_memory.take(device_, DType::kInt64, {std::ssize(numbers)});
  std::copy(numbers.begin(), numbers.end(), host_span<int64_t>(from).begin());
  copy(stream, from, to);
  return to;
}

// Rows that are kept come first in the arrays of the next set, then those that are new.
void StagedRows::compare(const WorkingSet& now, WorkingSet& next) {
  for (std::vector<int64_t>* each :
       {&kept_indices_, &evicted_indices_, &evicted_slots_, &new_slots_, &next.host_indices}) {
    each->clear();
  }
  size_t i = 0;
  const auto evict_below = [&](int64_t end) {
    for (; i < now.slots.size() && now.slots[i] < end; ++i) {
      evicted_indices_.push_back(now.host_indices[i]);
      evicted_slots_.push_back(now.slots[i]);
    }
  };
  constexpr int64_t kNew = -1;
  for (const int64_t slot : next.slots) {
    evict_below(slot);
    if (i < now.slots.size() && now.slots[i] == slot) {
      next.host_indices.push_back(std::ssize(kept_indices_));
      kept_indices_.push_back(now.host_indices[i++]);
    } else {
      next.host_indices.push_back(kNew);
      new_slots_.push_back(slot);
    }
  }
  evict_below(INT64_MAX);
  int64_t new_index = std::ssize(kept_indices_);
  for (int64_t& index : next.host_indices) {
    if (index == kNew) index = new_index++;
  }
}

void StagedRows::prepare(Stream& stream, const Tensor& slots) {
  assert(!is_prepared_);
  begun_.hold(stream);
  write_back_evicted(stream);  // makes room in the memory of the set before
  WorkingSet& next = other();
  next.slots = download(stream, slots);
  assert(std::ranges::adjacent_find(next.slots, std::greater_equal()) == next.slots.end());
  compare(current(), next);
  next.indices = upload(stream, next.host_indices, next.indices_upload);
  kept_ = upload(stream, kept_indices_, kept_upload_);
  evicted_ = upload(stream, evicted_indices_, evicted_upload_);
  for (size_t i = 0; i < table_.size(); ++i) {
    const Tensor table = as_words(table_[i]);
    const int64_t num_words = table.size(1), num_new = std::ssize(new_slots_);
    const Tensor new_rows = staging_[i].new_memory.take_host(device_, DType::kFloat32, {num_new, num_words});
    copy_rows(Direction::kFromTable, table, new_slots_, new_rows, num_threads_);
    const Tensor rows = next.memory[i].take(device_, DType::kFloat32, {std::ssize(next.slots), num_words});
    copy(stream, new_rows, rows.rows(std::ssize(kept_indices_), num_new));
    next.arrays[i] = as_rows(rows, table_[i]);
  }
  sent_.record(stream);
  is_prepared_ = true;
}

void StagedRows::begin(Stream& stream) {
  assert(is_prepared_);
  sent_.hold(stream);
  const int64_t num_kept = kept_.size(0);
  for (size_t i = 0; i < table_.size() && num_kept > 0; ++i) {
    row_gather(stream, as_words(current().arrays[i]), kept_, as_words(other().arrays[i]).rows(0, num_kept));
  }
  current_ = 1 - current_;
  is_prepared_ = false;
  is_dirty_ = evicted_dirty_ = true;
  begun_.record(stream);
}

// Row indices[i] of the set becomes row slots[i] of the host table.
void StagedRows::write_back_rows(Stream& stream, const WorkingSet& set, const Tensor& indices,
                                 std::span<const int64_t> slots) {
  if (slots.empty()) return;
  std::vector<Tensor> written;
  for (size_t i = 0; i < table_.size(); ++i) {
    const Tensor rows = as_words(set.arrays[i]);
    const int64_t num_rows = indices.size(0), num_words = rows.size(1);
    const Tensor gathered = staging_[i].gathered_memory.take(device_, DType::kFloat32, {num_rows, num_words});
    written.push_back(staging_[i].written_memory.take_host(device_, DType::kFloat32, {num_rows, num_words}));
    row_gather(stream, rows, indices, gathered);
    copy(stream, gathered, written[i]);
  }
  synchronize(stream);
  for (size_t i = 0; i < table_.size(); ++i) {
    copy_rows(Direction::kToTable, as_words(table_[i]), slots, written[i], num_threads_);
  }
}

void StagedRows::write_back_evicted(Stream& stream) {
  if (std::exchange(evicted_dirty_, false)) write_back_rows(stream, other(), evicted_, evicted_slots_);
}

void StagedRows::write_back(Stream& stream) {
  write_back_evicted(stream);
  if (std::exchange(is_dirty_, false)) write_back_rows(stream, current(), current().indices, current().slots);
}

Tensor StagedRows::read(Stream& stream, const Tensor& slots) {
  const std::vector<int64_t> wanted = download(stream, slots);
  const Tensor table = as_words(table_[0]);
  const Tensor host = host_read_memory_.take_host(device_, DType::kFloat32, {std::ssize(wanted), table.size(1)});
  const Tensor rows = read_memory_.take(device_, DType::kFloat32, {std::ssize(wanted), table.size(1)});
  copy_rows(Direction::kFromTable, table, wanted, host, num_threads_);
  copy(stream, host, rows);
  synchronize(stream);
  return as_rows(rows, table_[0]);
}

}  // namespace engram
