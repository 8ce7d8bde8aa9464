#include <cstddef>
#include <cstdint>

#include "tests/fuzz/fuzz.h"

// HDF5 1.10 leaks parts of files that it refuses; leaks of our own still count.
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  engram::fuzz::reads({reinterpret_cast<const char*>(data), size});
  return 0;
}
