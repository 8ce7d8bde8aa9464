#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data/hdf5_file.h"
#include "trainer/checkpoint_image.h"
#include "trainer/checkpoint_reader.h"
#include "trainer/replica.h"

namespace engram {

// An array of a checkpoint (checkpoint.h), and what of it a rank owns.
struct OwnedArray {
  enum class Kind { kDense, kState, kTable };
  struct Part {
    int64_t first = 0;  // row of the whole array
    Tensor rows;
  };

  Kind kind;
  std::string name;         // "dense/NAME/m"
  std::string parameter;    // or state: NAME
  int64_t table = -1;       // of kTable
  Tensor all;               // what the parts are rows of
  std::vector<Part> parts;  // in the order of a file
};

// Each array of which the rank may own something, or with weights_only all but the optimizer's, in one fixed order.
// Router biases are every rank's; a checkpoint has those of rank 0.
void for_each_owned(Replica& replica, bool weights_only, const std::function<void(const OwnedArray&)>& use);

// Puts everything that this rank owns, in global coordinates (see checkpoint.h), into a file or into memory.
void write_tensors(Hdf5Writer& file, Replica& replica);
void write_tensors(CheckpointImage& image, Replica& replica);

// Bytes of what this rank owns.
int64_t num_owned_bytes(Replica& replica);

// Fills what this rank owns, whatever number of ranks wrote the checkpoint. With weights_only optimizer state stays as
// it is. Throws Error that names file and array where one is missing, or has another shape or type.
void read_tensors(const CheckpointReader& checkpoint, Replica& replica, bool weights_only);

}  // namespace engram
