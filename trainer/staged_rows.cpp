#include "trainer/staged_rows.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <thread>

#include "kernels/core/device.h"
#include "kernels/row_gather.h"

namespace engram {
namespace {

// The same memory as rows of 32-bit words.
Tensor as_words(const Tensor& rows) {
  const int64_t num_rows = rows.size(0);
  int64_t row_bytes = size_of(rows.dtype);
  for (int axis = 1; axis < rows.rank; ++axis) row_bytes *= rows.size(axis);
  return {rows.data, DType::kFloat32, {num_rows, row_bytes / size_of(DType::kFloat32)}};
}

// Words as rows of the type and width that `like` has.
Tensor as_rows(const Tensor& words, const Tensor& like) {
  if (like.rank == 1) return {words.data, like.dtype, {words.size(0)}};
  return {words.data, like.dtype, {words.size(0), like.size(1)}};
}

char* row_of(const Tensor& words, int64_t row) {
  return static_cast<char*>(words.data) + row * words.size(1) * size_of(words.dtype);
}

}  // namespace

StagedRows::StagedRows(Device device, std::vector<Tensor> home, int num_threads)
    : device_(device), num_threads_(num_threads), home_(std::move(home)), arrays_(home_.size()) {
  for (size_t i = 0; i < home_.size(); ++i) arrays_[i].home = as_words(home_[i]);
}

template <class Body>
void StagedRows::for_each_row(int64_t num_rows, Body&& body) const {
  const auto run = [&](int64_t thread) {
    const int64_t end = num_rows * (thread + 1) / num_threads_;
    for (int64_t row = num_rows * thread / num_threads_; row < end; ++row) body(row);
  };
  std::vector<std::jthread> threads;
  for (int thread = 1; thread < num_threads_; ++thread) threads.emplace_back(run, thread);
  run(0);
}

void StagedRows::collect(const Tensor& home, std::span<const int64_t> slots, const Tensor& rows) const {
  const auto row_bytes = static_cast<size_t>(rows.size(1) * size_of(rows.dtype));
  for_each_row(std::ssize(slots), [&](int64_t row) {
    std::memcpy(row_of(rows, row), row_of(home, slots[static_cast<size_t>(row)]), row_bytes);
  });
}

std::vector<int64_t> StagedRows::download(Stream& stream, const Tensor& slots) {
  const Tensor host = slots_memory_.take_host(device_, DType::kInt64, {slots.size(0)});
  copy(stream, slots, host);
  synchronize(stream);
  const auto words = host_span<const int64_t>(host);
  return {words.begin(), words.end()};
}

Tensor StagedRows::upload(Stream& stream, const std::vector<int64_t>& words, ReusedBuffer& host,
                          ReusedBuffer& memory) const {
  const Tensor from = host.take_host(device_, DType::kInt64, {std::ssize(words)});
  const Tensor to = memory.take(device_, DType::kInt64, {std::ssize(words)});
  std::copy(words.begin(), words.end(), host_span<int64_t>(from).begin());
  copy(stream, from, to);
  return to;
}

// Both sets are ascending.
void StagedRows::compare_sets() {
  new_slots_.clear();
  sources_.clear();
  leaving_slots_.clear();
  leaving_.clear();
  const int64_t num_current = std::ssize(slots_);
  int64_t place = 0;
  const auto leave_below = [&](int64_t end) {
    for (; place < num_current && slots_[static_cast<size_t>(place)] < end; ++place) {
      leaving_.push_back(place);
      leaving_slots_.push_back(slots_[static_cast<size_t>(place)]);
    }
  };
  for (const int64_t slot : next_slots_) {
    leave_below(slot);
    if (place < num_current && slots_[static_cast<size_t>(place)] == slot) {
      sources_.push_back(place++);
    } else {
      sources_.push_back(num_current + std::ssize(new_slots_));
      new_slots_.push_back(slot);
    }
  }
  leave_below(INT64_MAX);
}

// What was there before a larger set is the same in the new memory.
void StagedRows::grow_places(Stream& stream) {
  const int64_t wanted = std::ssize(next_slots_);
  if (!places_.empty() && places_.size(0) >= wanted) return;
  std::vector<int64_t> places(static_cast<size_t>(wanted + wanted / 4 + 1));
  std::iota(places.begin(), places.end(), 0);
  places_ = upload(stream, places, host_places_memory_, places_memory_);
}

void StagedRows::prepare(Stream& stream, const Tensor& slots) {
  begun_.hold(stream);
  bring_home(stream);
  next_slots_ = download(stream, slots);
  compare_sets();
  grow_places(stream);
  device_sources_ = upload(stream, sources_, host_sources_memory_, sources_memory_);
  device_leaving_ = upload(stream, leaving_, host_leaving_memory_, leaving_memory_);
  const int64_t num_current = std::ssize(slots_), num_new = std::ssize(new_slots_);
  for (Array& array : arrays_) {
    const int64_t words = array.home.size(1);
    const Tensor coming = array.coming_memory.take_host(device_, DType::kFloat32, {num_new, words});
    collect(array.home, new_slots_, coming);
    array.joined = array.joined_memory.take(device_, DType::kFloat32, {num_current + num_new, words});
    copy(stream, coming, array.joined.rows(num_current, num_new));
  }
  sent_.record(stream);
}

void StagedRows::begin(Stream& stream) {
  sent_.hold(stream);
  const int64_t num_current = std::ssize(slots_), num_next = std::ssize(next_slots_);
  current_.clear();
  for (size_t i = 0; i < arrays_.size(); ++i) {
    Array& array = arrays_[i];
    const int64_t words = array.home.size(1);
    if (num_current > 0) copy(stream, array.rows, array.joined.rows(0, num_current));
    array.leaving = array.leaving_memory.take(device_, DType::kFloat32, {std::ssize(leaving_), words});
    row_gather(stream, array.joined, device_leaving_, array.leaving);
    array.rows = array.rows_memory.take(device_, DType::kFloat32, {num_next, words});
    row_gather(stream, array.joined, device_sources_, array.rows);
    current_.push_back(as_rows(array.rows, home_[i]));
  }
  away_ = leaving_slots_;
  slots_ = next_slots_;
  begun_.record(stream);
}

void StagedRows::send_home(Stream& stream, Array& array, const Tensor& rows, std::span<const int64_t> slots) {
  const Tensor going = array.going_memory.take_host(device_, DType::kFloat32, {std::ssize(slots), rows.size(1)});
  copy(stream, rows, going);
  synchronize(stream);
  const auto row_bytes = static_cast<size_t>(rows.size(1) * size_of(rows.dtype));
  for_each_row(std::ssize(slots), [&](int64_t row) {
    std::memcpy(row_of(array.home, slots[static_cast<size_t>(row)]), row_of(going, row), row_bytes);
  });
}

void StagedRows::bring_home(Stream& stream) {
  for (Array& array : arrays_) {
    if (!away_.empty()) send_home(stream, array, array.leaving, away_);
  }
  away_.clear();
}

void StagedRows::settle(Stream& stream) {
  bring_home(stream);
  for (Array& array : arrays_) {
    if (!slots_.empty()) send_home(stream, array, array.rows, slots_);
  }
}

Tensor StagedRows::read(Stream& stream, const Tensor& slots) {
  const std::vector<int64_t> wanted = download(stream, slots);
  const Tensor& home = arrays_[0].home;
  const Tensor host = host_read_memory_.take_host(device_, DType::kFloat32, {std::ssize(wanted), home.size(1)});
  const Tensor rows = read_memory_.take(device_, DType::kFloat32, {std::ssize(wanted), home.size(1)});
  collect(home, wanted, host);
  copy(stream, host, rows);
  synchronize(stream);
  return as_rows(rows, home_[0]);
}

}  // namespace engram
