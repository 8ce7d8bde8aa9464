#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <initializer_list>
#include <vector>

#include "parallel/self_communicator.h"
#include "parallel/thread_communicator.h"

// Runs one test body on worlds of several sizes. A file named *_mpi_test.cpp is compiled twice: into the ordinary test
// program of its folder, where ranks are threads, and into the one that ctest starts under mpirun.
namespace engram::test {

#if ENGRAM_TESTS_UNDER_MPI

// Runs body on the world of mpirun if `sizes` names its size; skips the test otherwise. Worlds of more than 8 ranks run
// what names 8, too. An exception ends the job.
void for_each_world(std::initializer_list<int> sizes, const std::function<void(Communicator&)>& body);

#else

// Runs body on a world of each size: threads, and SelfCommunicator as well where the size is 1. What body throws on a
// rank fails the test with that rank's message.
inline void for_each_world(std::initializer_list<int> sizes, const std::function<void(Communicator&)>& body) {
  for (const int size : sizes) {
    SCOPED_TRACE("world of " + std::to_string(size));
    if (size == 1) {
      SelfCommunicator self;
      body(self);
    }
    run_ranks(size, body);
  }
}

#endif

// The rank that each member of a group has in the world.
inline std::vector<int64_t> world_ranks(Communicator& world, Communicator& group) {
  Stream stream = CpuQueue{};
  int64_t own = world.rank();
  std::vector<int64_t> all(static_cast<size_t>(group.size()));
  group.all_gather(stream, Tensor(&own, DType::kInt64, {1}), Tensor(all.data(), DType::kInt64, {group.size()})).wait();
  return all;
}

}  // namespace engram::test
