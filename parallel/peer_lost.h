#pragma once

#include "kernels/core/check.h"

namespace engram {

// Another rank, its machine or the link to it is gone; the job may go on from its last checkpoint.
class PeerLost : public Error {
 public:
  using Error::Error;
};

}  // namespace engram
