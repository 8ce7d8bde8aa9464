#include "parallel/communicator.h"

#include <exception>

namespace engram {

Pending::~Pending() {
  assert(!finish_ || std::uncaught_exceptions() > 0);  // a transfer was issued and nobody waited for it
}

}  // namespace engram
