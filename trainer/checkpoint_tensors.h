#pragma once

#include <string>
#include <vector>

#include "data/hdf5_file.h"
#include "trainer/checkpoint_image.h"
#include "trainer/replica.h"

namespace engram {

// Puts everything that this rank owns, in global coordinates (see checkpoint.h), into a file or into memory.
void write_tensors(Hdf5Writer& file, Replica& replica);
void write_tensors(CheckpointImage& image, Replica& replica);

// Bytes of what this rank owns.
int64_t num_owned_bytes(Replica& replica);

// Fills what this rank owns from the files of all ranks that wrote the checkpoint, whatever their number. With
// weights_only optimizer state stays as it is. Throws Error that names file and tensor where one is missing, or has
// another shape or type.
void read_tensors(const std::vector<Hdf5Reader>& files, Replica& replica, bool weights_only);

}  // namespace engram
