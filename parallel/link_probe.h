#pragma once

#include <cstdint>
#include <vector>

#include "parallel/communicator.h"

namespace engram {

// How rank 0 reaches another rank, as measured.
struct Link {
  int rank = 0;
  double call_seconds = 0;      // one way, of a collective call that moves 8 bytes
  double bytes_per_second = 0;  // one way, of large transfers
  bool uses_tcp = false;        // the bytes passed through TCP sockets of rank 0
  bool is_intact = false;       // what went there and back is what it was
};

// Sends bytes from rank 0 to each other rank and back, one after the other, as that kind of stream has them moved:
// some 20 MB for each. The links on rank 0, nothing on the others. Collective.
std::vector<Link> probe_links(Communicator& group, Stream& stream);

}  // namespace engram
