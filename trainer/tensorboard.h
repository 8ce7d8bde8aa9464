#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "data/append_file.h"

namespace engram {

using Scalars = std::vector<std::pair<std::string, double>>;

// An event file as TensorBoard reads them: TFRecord framing (length, data, masked CRC-32C of each) around Event
// messages of protocol buffers (tensorflow/core/util/event.proto). One process writes one file; a run that was resumed
// has several, which TensorBoard reads in the order of their names.
class TensorBoardFile {
 public:
  // Begins a new file in `directory`, named after all that are there, with a SessionLog START at step + 1: readers then
  // drop what earlier files hold from that step on. Throws Error where the file cannot be made.
  TensorBoardFile(const std::string& directory, int64_t step);

  // One event with the finite ones of the scalars, in float32 as the format has them.
  void write(int64_t step, const Scalars& scalars);

  // See AppendFile: what was written comes into the file with these.
  void flush() { file_.flush(); }
  void sync() { file_.sync(); }

 private:
  AppendFile file_;
};

}  // namespace engram
