#pragma once

#include <array>
#include <span>
#include <vector>

#include "kernels/core/event.h"
#include "parallel/reused_buffer.h"

namespace engram {

// The rows of a table in host memory that a step reads and updates, on the device. Each step has its own set of rows:
// those that the next one shares stay on the device, the others go home, and new ones come.
//
//   stage.prepare(any_stream, slots);  // under the step before: the host collects the new rows and sends them
//   stage.begin(stream);               // after that step's update
//   ... arrays() are read and updated on `stream` ...
//
// A row that comes was not in the set before, and one that goes home is not in the next: so that the host may do both
// while a step is at work, and every bit is that of a table that lies on the device.
class StagedRows {
 public:
  // home: arrays [num_slots] or [num_slots, width] in host memory, which must outlive the stage; num_threads move rows.
  StagedRows(Device device, std::vector<Tensor> home, int num_threads);

  // slots [m] int64 on the device, ascending: the next set. Blocks the host until its new rows are on their way; on
  // CUDA it may run on a stream of its own, beside the step that is at work.
  void prepare(Stream& stream, const Tensor& slots);
  // The set that was prepared becomes the current one. Never blocks the host on CUDA.
  void begin(Stream& stream);

  // The current set's rows of every array of `home`, [m] or [m, width].
  std::span<const Tensor> arrays() const { return current().arrays; }
  // [m] int64: which of them is that of each slot.
  const Tensor& places() const { return current().places; }

  // Brings `home` up to date; the current set stays, and is not updated again before the next begin(). Blocks the host
  // until the stream is done, but for a second time between two begin(), when `home` is up to date already.
  void settle(Stream& stream);
  // Rows `slots` [n] of the first array of `home`, on the device until the next read(): after settle(), those of the
  // table. Blocks the host.
  Tensor read(Stream& stream, const Tensor& slots);

 private:
  // Numbers on the device, and pinned on their way there.
  struct Numbers {
    ReusedBuffer host_memory, device_memory;
  };
  struct Set {
    std::vector<int64_t> slots;        // ascending
    std::vector<int64_t> host_places;  // of their rows in `arrays`
    Tensor places;
    std::vector<Tensor> arrays;
    Numbers places_memory;
    std::vector<ReusedBuffer> memory;
  };
  // Rows of one array on their way.
  struct Passage {
    ReusedBuffer coming_memory;                 // pinned
    ReusedBuffer leaving_memory, going_memory;  // on the device, and pinned
  };

  const Set& current() const { return sets_[current_]; }
  Set& other() { return sets_[1 - current_]; }
  std::vector<int64_t> download(Stream& stream, const Tensor& slots);
  Tensor upload(Stream& stream, const std::vector<int64_t>& numbers, Numbers& memory) const;
  void compare(const Set& now, Set& next);
  void bring_home(Stream& stream, const Set& set, const Tensor& places, std::span<const int64_t> slots);
  void bring_away(Stream& stream);

  Device device_;
  int num_threads_;
  std::vector<Tensor> home_;
  std::vector<Passage> passages_;
  std::array<Set, 2> sets_;
  size_t current_ = 0;  // the other one is the next, and until that is prepared, the one before
  // Between the current set and the next, with places in the current one:
  std::vector<int64_t> staying_, leaving_;
  std::vector<int64_t> leaving_slots_, new_slots_;
  Tensor device_staying_, device_leaving_;
  Numbers staying_memory_, leaving_memory_;
  std::vector<int64_t> away_;  // slots that are in the set before alone, and not home yet
  bool is_settled_ = true;
  ReusedBuffer slots_memory_, read_memory_, host_read_memory_;
  Event sent_;   // the set that was prepared
  Event begun_;  // the current set
};

}  // namespace engram
