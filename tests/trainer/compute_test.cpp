#include "trainer/compute.h"

#include <gtest/gtest.h>

#include "tests/parallel/ranks.h"
#include "tests/testing.h"

namespace engram {
namespace {

constexpr CardUuid kCard = {0x4a, 0x7b, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 255};

TEST(Compute, ACardIsWrittenAsToolsWriteIt) { EXPECT_EQ(to_string(kCard), "GPU-4a7b0102-0304-0506-0708-090a0b0c0dff"); }

TEST(Compute, RanksHaveCardsOfTheirOwn) {
  test::for_each_world({1, 3}, [](Communicator& world) {
    CardUuid card = kCard;
    card[0] = static_cast<uint8_t>(world.rank());
    check_own_card(world, card);
  });
}

TEST(Compute, TheRankOfASharedCardIsNamed) {
  test::for_each_world({3}, [](Communicator& world) {
    CardUuid card = kCard;
    if (world.rank() == 1) card[15] = 0;  // ranks 0 and 2 share theirs
    const auto check = [&] { check_own_card(world, card); };
    if (world.rank() == 1) {
      EXPECT_THROW(check(), PeerFailed);
      return;
    }
    EXPECT_TRUE(test::error_of(check).starts_with(
        "device: cuda, but GPU-4a7b0102-0304-0506-0708-090a0b0c0dff is the card of rank " +
        std::to_string(2 - world.rank()) + " as well; start at most one rank per card"));
  });
}

}  // namespace
}  // namespace engram
