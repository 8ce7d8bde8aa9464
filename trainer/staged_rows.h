#pragma once

#include <array>
#include <span>
#include <vector>

#include "kernels/core/event.h"
#include "parallel/reused_buffer.h"

namespace engram {

// Working sets of a table in host memory: the rows that a step reads and updates, with their state, on the device. Of
// the set before, a step keeps the rows that it needs too; the others are evicted and written back to the host table,
// from which new ones are read.
//
//   stage.prepare(any_stream, slots);  // under the step before: the host writes back evicted rows and reads new ones
//   stage.begin(stream);               // after that step's update
//   ... arrays() are read and updated on `stream` ...
//
// New rows are not in the current set, nor are those that are being written back: so that the host may read and write
// its table while a step is at work, and every bit is that of a table that lies on the device.
class StagedRows {
 public:
  // table: arrays [num_slots] or [num_slots, width] in host memory, which must outlive the stage; num_threads read and
  // write their rows.
  StagedRows(Device device, std::vector<Tensor> table, int num_threads);

  // slots [m] int64 on the device, ascending and distinct: the next set, for the begin() that follows. Blocks the host
  // until the copies of its new rows are queued; on CUDA it may run on a stream of its own, beside the step at work.
  void prepare(Stream& stream, const Tensor& slots);
  // The set that was prepared becomes the current one. Never blocks the host on CUDA.
  void begin(Stream& stream);

  // The current set's rows of every array of the table, [m] or [m, width].
  std::span<const Tensor> arrays() const { return current().arrays; }
  // [m] int64: where in arrays() the row of each slot is.
  const Tensor& indices() const { return current().indices; }

  // Brings the host table up to date; the current set stays, and is not updated again before the next begin(). Blocks
  // the host until the stream is done; returns at once where nothing was begun since the last call.
  void write_back(Stream& stream);
  // Rows `slots` [n] of the table's first array, as the last write_back() left it, on the device until the next read().
  // Blocks the host.
  Tensor read(Stream& stream, const Tensor& slots);

 private:
  // Memory of numbers on the device, and in pinned memory on their way there.
  struct Upload {
    ReusedBuffer host_memory, device_memory;
  };
  struct WorkingSet {
    std::vector<int64_t> slots;  // ascending
    std::vector<int64_t> host_indices;
    Tensor indices;  // the same on the device
    std::vector<Tensor> arrays;
    Upload indices_upload;
    std::vector<ReusedBuffer> memory;  // of arrays
  };
  // Of one array.
  struct StagingBuffers {
    ReusedBuffer new_memory;                       // pinned: rows on their way to the device
    ReusedBuffer gathered_memory, written_memory;  // on the device, and pinned: rows on their way to the host table
  };

  const WorkingSet& current() const { return sets_[current_]; }
  WorkingSet& other() { return sets_[1 - current_]; }
  std::vector<int64_t> download(Stream& stream, const Tensor& slots);
  Tensor upload(Stream& stream, const std::vector<int64_t>& numbers, Upload& memory) const;
  void compare(const WorkingSet& now, WorkingSet& next);
  void write_back_rows(Stream& stream, const WorkingSet& set, const Tensor& indices, std::span<const int64_t> slots);
  void write_back_evicted(Stream& stream);

  Device device_;
  int num_threads_;
  std::vector<Tensor> table_;
  std::vector<StagingBuffers> staging_;
  std::array<WorkingSet, 2> sets_;
  size_t current_ = 0;  // the other one is the next, and until that is prepared, the one before
  // From the current set to the next; indices are those in the current one, on the host and on the device.
  std::vector<int64_t> kept_indices_, evicted_indices_, evicted_slots_, new_slots_;
  Tensor kept_, evicted_;
  Upload kept_upload_, evicted_upload_;
  bool is_prepared_ = false;
  bool is_dirty_ = false;       // rows of the current set may differ from those of the host table,
  bool evicted_dirty_ = false;  // and those that begin() evicted, in the set before
  ReusedBuffer slots_memory_, read_memory_, host_read_memory_;
  Event sent_;   // the set that was prepared
  Event begun_;  // the current set
};

}  // namespace engram
