#pragma once

#include <string>
#include <vector>

#include "data/hdf5_file.h"
#include "trainer/replica.h"

namespace engram {

// Writes everything that this rank owns, in global coordinates (see checkpoint.h).
void write_tensors(Hdf5Writer& file, Replica& replica);

// Fills what this rank owns from the files of all ranks that wrote the checkpoint, whatever their number. With
// weights_only optimizer state stays as it is. Throws Error that names file and tensor where one is missing, or has
// another shape or type.
void read_tensors(const std::vector<Hdf5Reader>& files, Replica& replica, bool weights_only);

}  // namespace engram
