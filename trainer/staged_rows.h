#pragma once

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

  // The current set's rows of every array of `home`, [m] or [m, width], in the order of its slots.
  std::span<const Tensor> arrays() const { return current_; }
  // [m] int64: 0, 1, .., m - 1.
  Tensor places() const { return places_.rows(0, std::ssize(slots_)); }

  // Brings `home` up to date; the current set stays. Blocks the host until the stream is done.
  void settle(Stream& stream);
  // Rows `slots` [n] of the first array of `home`, on the device until the next read(): after settle(), those of the
  // table. Blocks the host.
  Tensor read(Stream& stream, const Tensor& slots);

 private:
  // Of one array. Rows on their way are rows of words, whatever their type.
  struct Array {
    Tensor home;  // [num_slots, words]
    ReusedBuffer rows_memory, joined_memory, leaving_memory, coming_memory, going_memory;
    Tensor rows;     // of the current set
    Tensor joined;   // room for them, then the new rows
    Tensor leaving;  // to go home
  };
  std::vector<int64_t> download(Stream& stream, const Tensor& slots);
  Tensor upload(Stream& stream, const std::vector<int64_t>& words, ReusedBuffer& host, ReusedBuffer& memory) const;
  void compare_sets();
  void grow_places(Stream& stream);
  void bring_home(Stream& stream);
  void send_home(Stream& stream, Array& array, const Tensor& rows, std::span<const int64_t> slots);
  void collect(const Tensor& home, std::span<const int64_t> slots, const Tensor& rows) const;
  template <class Body>
  void for_each_row(int64_t num_rows, Body&& body) const;

  Device device_;
  int num_threads_;
  std::vector<Tensor> home_;
  std::vector<Array> arrays_;
  std::vector<Tensor> current_;
  std::vector<int64_t> slots_;                    // of the current set
  std::vector<int64_t> away_;                     // whose rows left the set before and are not home yet
  std::vector<int64_t> next_slots_;               // of the set that was prepared,
  std::vector<int64_t> new_slots_;                // those that the current one has not,
  std::vector<int64_t> sources_;                  // where each of its rows comes from: places in `joined`
  std::vector<int64_t> leaving_slots_, leaving_;  // of the current set: what the next one has not, and its places
  Tensor places_, device_sources_, device_leaving_;
  ReusedBuffer places_memory_, host_places_memory_, sources_memory_, host_sources_memory_, leaving_memory_,
      host_leaving_memory_, slots_memory_, read_memory_, host_read_memory_;
  Event sent_;   // the set that was prepared
  Event begun_;  // the current set
};

}  // namespace engram
