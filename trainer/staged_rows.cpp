#include "trainer/staged_rows.h"

#include <algorithm>
#include <cstring>
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

enum class Way { kOut, kHome };

// Copies home[slots[i]] to rows[i], or back home.
void move_rows(Way way, const Tensor& home, std::span<const int64_t> slots, const Tensor& rows, int num_threads) {
  constexpr int64_t kAhead = 4;  // enough to hide that the rows at home lie far apart
  const int64_t row_bytes = home.size(1) * size_of(home.dtype);
  const auto home_row = [&](int64_t i) {
    return static_cast<char*>(home.data) + slots[static_cast<size_t>(i)] * row_bytes;
  };
  for_each_part(num_threads, std::ssize(slots), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (i + kAhead < end) prefetch(home_row(i + kAhead), row_bytes);
      char *at_home = home_row(i), *row = static_cast<char*>(rows.data) + i * row_bytes;
      std::memcpy(way == Way::kOut ? row : at_home, way == Way::kOut ? at_home : row, static_cast<size_t>(row_bytes));
    }
  });
}

}  // namespace

StagedRows::StagedRows(Device device, std::vector<Tensor> home, int num_threads)
    : device_(device), num_threads_(num_threads), home_(std::move(home)), passages_(home_.size()) {
  for (Set& set : sets_) {
    set.memory.resize(home_.size());
    set.arrays.resize(home_.size());
  }
}

std::vector<int64_t> StagedRows::download(Stream& stream, const Tensor& slots) {
  const Tensor host = slots_memory_.take_host(device_, DType::kInt64, {slots.size(0)});
  copy(stream, slots, host);
  synchronize(stream);
  const auto words = host_span<const int64_t>(host);
  return {words.begin(), words.end()};
}

Tensor StagedRows::upload(Stream& stream, const std::vector<int64_t>& numbers, Numbers& memory) const {
  const Tensor from = memory.host_memory.take_host(device_, DType::kInt64, {std::ssize(numbers)});
  const Tensor to = memory.device_memory.take(device_, DType::kInt64, {std::ssize(numbers)});
  std::copy(numbers.begin(), numbers.end(), host_span<int64_t>(from).begin());
  copy(stream, from, to);
  return to;
}

// Both sets are ascending. Rows that stay come first in the arrays of the next set, then those that are new.
void StagedRows::compare(const Set& now, Set& next) {
  for (std::vector<int64_t>* each : {&staying_, &leaving_, &leaving_slots_, &new_slots_, &next.host_places}) {
    each->clear();
  }
  size_t i = 0;
  const auto leave_below = [&](int64_t end) {
    for (; i < now.slots.size() && now.slots[i] < end; ++i) {
      leaving_.push_back(now.host_places[i]);
      leaving_slots_.push_back(now.slots[i]);
    }
  };
  constexpr int64_t kNew = -1;
  for (const int64_t slot : next.slots) {
    leave_below(slot);
    if (i < now.slots.size() && now.slots[i] == slot) {
      next.host_places.push_back(std::ssize(staying_));
      staying_.push_back(now.host_places[i++]);
    } else {
      next.host_places.push_back(kNew);
      new_slots_.push_back(slot);
    }
  }
  leave_below(INT64_MAX);
  int64_t new_place = std::ssize(staying_);
  for (int64_t& place : next.host_places) {
    if (place == kNew) place = new_place++;
  }
}

void StagedRows::prepare(Stream& stream, const Tensor& slots) {
  begun_.hold(stream);
  bring_away(stream);  // makes room in the memory of the set before
  Set& next = other();
  next.slots = download(stream, slots);
  compare(current(), next);
  next.places = upload(stream, next.host_places, next.places_memory);
  device_staying_ = upload(stream, staying_, staying_memory_);
  device_leaving_ = upload(stream, leaving_, leaving_memory_);
  for (size_t i = 0; i < home_.size(); ++i) {
    const Tensor home = as_words(home_[i]);
    const int64_t num_words = home.size(1), num_new = std::ssize(new_slots_);
    const Tensor coming = passages_[i].coming_memory.take_host(device_, DType::kFloat32, {num_new, num_words});
    move_rows(Way::kOut, home, new_slots_, coming, num_threads_);
    const Tensor rows = next.memory[i].take(device_, DType::kFloat32, {std::ssize(next.slots), num_words});
    copy(stream, coming, rows.rows(std::ssize(staying_), num_new));
    next.arrays[i] = as_rows(rows, home_[i]);
  }
  sent_.record(stream);
}

void StagedRows::begin(Stream& stream) {
  sent_.hold(stream);
  const int64_t num_staying = std::ssize(staying_);
  for (size_t i = 0; i < home_.size() && num_staying > 0; ++i) {
    row_gather(stream, as_words(current().arrays[i]), device_staying_,
               as_words(other().arrays[i]).rows(0, num_staying));
  }
  away_ = leaving_slots_;
  is_settled_ = false;
  current_ = 1 - current_;
  begun_.record(stream);
}

// Of slots that are in the set: their rows, which lie at those places.
void StagedRows::bring_home(Stream& stream, const Set& set, const Tensor& places, std::span<const int64_t> slots) {
  if (slots.empty()) return;
  std::vector<Tensor> going;
  for (size_t i = 0; i < home_.size(); ++i) {
    const Tensor rows = as_words(set.arrays[i]);
    const int64_t num_words = rows.size(1);
    const Tensor leaving = passages_[i].leaving_memory.take(device_, DType::kFloat32, {places.size(0), num_words});
    going.push_back(passages_[i].going_memory.take_host(device_, DType::kFloat32, {places.size(0), num_words}));
    row_gather(stream, rows, places, leaving);
    copy(stream, leaving, going[i]);
  }
  synchronize(stream);
  for (size_t i = 0; i < home_.size(); ++i) {
    move_rows(Way::kHome, as_words(home_[i]), slots, going[i], num_threads_);
  }
}

void StagedRows::bring_away(Stream& stream) {
  bring_home(stream, other(), device_leaving_, away_);
  away_.clear();
}

void StagedRows::settle(Stream& stream) {
  if (std::exchange(is_settled_, true)) return;
  bring_away(stream);
  bring_home(stream, current(), current().places, current().slots);
}

Tensor StagedRows::read(Stream& stream, const Tensor& slots) {
  const std::vector<int64_t> wanted = download(stream, slots);
  const Tensor home = as_words(home_[0]);
  const Tensor host = host_read_memory_.take_host(device_, DType::kFloat32, {std::ssize(wanted), home.size(1)});
  const Tensor rows = read_memory_.take(device_, DType::kFloat32, {std::ssize(wanted), home.size(1)});
  move_rows(Way::kOut, home, wanted, host, num_threads_);
  copy(stream, host, rows);
  synchronize(stream);
  return as_rows(rows, home_[0]);
}

}  // namespace engram
