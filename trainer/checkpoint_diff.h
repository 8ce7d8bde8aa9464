#pragma once

#include <string>

#include "trainer/checkpoint_reader.h"

namespace engram {

// What differs between two checkpoints, a line each: configuration keys as "path: a -> b", arrays that only one has or
// whose types or sizes differ, and arrays with other values: how many of them differ in a bit, and the largest
// difference. "equal" where nothing does.
std::string checkpoint_differences(const CheckpointReader& a, const CheckpointReader& b);

}  // namespace engram
