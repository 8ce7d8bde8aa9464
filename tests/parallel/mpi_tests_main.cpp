#include <algorithm>
#include <iostream>

#include "parallel/mpi_communicator.h"
#include "tests/parallel/ranks.h"

// main() of the test programs that ctest starts under mpirun. Every rank runs the same tests in the same order; rank 0
// prints as usual, the others only what fails.
namespace engram::test {
namespace {

const MpiSession* session = nullptr;  // set by main() for for_each_world(), which GoogleTest cannot hand arguments
Communicator* world = nullptr;

// Where a rank stops in the middle of a test, its peers would wait for ever.
class EndJobOnFatalFailure : public ::testing::EmptyTestEventListener {
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (!result.failed()) return;
    if (world->rank() != 0) {
      std::cerr << "rank " << world->rank() << ": " << result.file_name() << ":" << result.line_number() << "\n"
                << result.message() << std::endl;
    }
    if (result.fatally_failed()) session->abort(1);
  }
};

}  // namespace

void for_each_world(std::initializer_list<int> sizes, const std::function<void(Communicator&)>& body) {
  const auto names = [&](int size) { return std::find(sizes.begin(), sizes.end(), size) != sizes.end(); };
  if (!names(world->size()) && !names(std::min(world->size(), 8))) {
    GTEST_SKIP() << "not for " << world->size() << " ranks";
  }
  try {
    body(*world);
  } catch (const std::exception& error) {
    std::cerr << "rank " << world->rank() << ": " << error.what() << std::endl;
    session->abort(1);
  }
}

}  // namespace engram::test

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const engram::MpiSession session;
  engram::Pulse pulse;
  const auto world = session.world(pulse);
  engram::test::session = &session;
  engram::test::world = world.get();

  auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
  if (world->rank() != 0) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new engram::test::EndJobOnFatalFailure);  // GoogleTest owns it
  return RUN_ALL_TESTS();
}
