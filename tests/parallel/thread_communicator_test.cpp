#include "parallel/thread_communicator.h"

#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <stdexcept>
#include <thread>

#include "kernels/core/rng.h"
#include "tests/testing.h"

// How a run of thread-ranks ends when one of them fails. What the collectives compute: communicator_mpi_test.cpp.
namespace engram {
namespace {

// A pause between nothing and 200 microseconds, different for every rank, place and repetition.
void jitter(int rank, int place, int repetition) {
  const Random128 random =
      philox(static_cast<uint64_t>(repetition), static_cast<uint64_t>(rank), static_cast<uint64_t>(place));
  if (random.word[0] % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random.word[1] % 200));
}

// One round of everything, from buffers that are freed as soon as the rank leaves.
void traffic(Communicator& group, int repetition) {
  Stream stream = CpuQueue{};
  const auto size = static_cast<size_t>(group.size());
  std::vector<double> all(size * 500, group.rank()), part(500);
  std::vector<int64_t> rows(size * 3, group.rank()), got(rows.size()), counts(size, 3);
  jitter(group.rank(), 1, repetition);
  Pending reduced = group.reduce_scatter_sum(stream, Tensor(all.data(), DType::kFloat64, {std::ssize(all)}),
                                             Tensor(part.data(), DType::kFloat64, {500}));
  Pending moved = group.all_to_all_rows(stream, Tensor(rows.data(), DType::kInt64, {std::ssize(rows)}), counts,
                                        Tensor(got.data(), DType::kInt64, {std::ssize(got)}), counts);
  reduced.wait();
  jitter(group.rank(), 2, repetition);
  moved.wait();
  const int last = group.size() - 1;
  for (const double sum : part) ASSERT_EQ(sum, last * group.size() / 2);
  for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], static_cast<int64_t>(i / 3));
}

// The rank `bad` throws after `num_rounds` rounds; the others would go on for longer.
void run_with_failure(int num_ranks, int bad, int num_rounds, int repetition) {
  run_ranks(num_ranks, [&](Communicator& world) {
    const auto half = world.split(world.rank() % 2);
    for (int round = 0; round < num_rounds + 2; ++round) {
      traffic(world, repetition);
      traffic(*half, repetition);
      if (world.rank() == bad && round == num_rounds) ENGRAM_FAIL("rank ", bad, " lost its data");
      traffic(*half, repetition);
    }
  });
}

TEST(ThreadFailureTest, TheFailingRanksMessageEndsTheRun) {
  for (const int num_ranks : {1, 2, 3, 4, 8}) {
    for (int bad = 0; bad < num_ranks; ++bad) {
      const std::string got = test::error_of([&] { run_with_failure(num_ranks, bad, 1, 0); });
      EXPECT_TRUE(got.starts_with("rank " + std::to_string(bad) + " lost its data")) << got;
    }
  }
}

TEST(ThreadFailureTest, PeersAreEndedByPeerFailedThatNamesTheRankOfTheWorld) {
  std::atomic<int> num_peers = 0;
  const std::string got = test::error_of([&] {
    run_ranks(4, [&](Communicator& world) {
      const auto odd = world.split(world.rank() % 2);
      if (world.rank() == 3) ENGRAM_FAIL("disk full");
      try {
        odd->barrier();
        world.barrier();
      } catch (const PeerFailed& error) {
        ++num_peers;
        // Rank 1 waits for rank 3 in a group where that one is rank 1.
        if (world.rank() == 1) {
          EXPECT_STREQ(error.what(), "barrier: rank 3 failed first; its own message says why");
        }
        throw;
      }
    });
  });
  EXPECT_EQ(num_peers, 3);
  EXPECT_TRUE(got.starts_with("disk full")) << got;
}

TEST(ThreadFailureTest, OtherExceptionsPassThrough) {
  EXPECT_THROW(run_ranks(3,
                         [](Communicator& world) {
                           if (world.rank() == 1) throw std::out_of_range("at");
                           world.barrier();
                         }),
               std::out_of_range);
}

TEST(ThreadFailureTest, AnErrorInsideACollectiveIsTheOneReported) {
  const std::string got = test::error_of([] {
    run_ranks(4, [](Communicator& world) {
      Stream stream = CpuQueue{};
      std::vector<float> rows(4), got_rows(world.rank() == 2 ? 5 : 4);
      const std::vector<int64_t> ones(4, 1);
      std::vector<int64_t> expected = ones;
      if (world.rank() == 2) expected[3] = 2;
      world
          .all_to_all_rows(stream, Tensor(rows.data(), DType::kFloat32, {4}), ones,
                           Tensor(got_rows.data(), DType::kFloat32, {std::ssize(got_rows)}), expected)
          .wait();
    });
  });
  EXPECT_TRUE(got.starts_with("all_to_all_rows: rank 2 expects 2 rows from rank 3, which sends 1")) << got;
}

TEST(ThreadFailureTest, ARankThatLeavesEarlyIsNamed) {
  const std::string got = test::error_of([] {
    run_ranks(3, [](Communicator& world) {
      if (world.rank() != 1) world.barrier();
    });
  });
  EXPECT_TRUE(got.starts_with("barrier: rank 1 has left the group")) << got;
}

TEST(ThreadFailureTest, AVoteEndsTheRunWithTheOwnersWords) {
  const std::string got = test::error_of(
      [] { run_ranks(4, [](Communicator& world) { vote(world, world.rank() == 2 ? "token 99 of 50" : ""); }); });
  EXPECT_EQ(got, "token 99 of 50");
}

TEST(ThreadFailureTest, NoRanksAreRefused) {
  EXPECT_TRUE(test::error_of([] { run_ranks(0, [](Communicator&) {}); }).starts_with("run_ranks: 0 ranks"));
}

TEST(PendingDeathTest, ATransferMustBeWaitedFor) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH({ const Pending forgotten([] {}); }, "finish_");
}

TEST(DryStreamTest, ChecksArgumentsAndMeetsNobody) {
  run_ranks(2, [](Communicator& world) {
    if (world.rank() == 1) return;
    Stream stream = DryQueue{};
    const Tensor mine(nullptr, DType::kFloat32, {3}), all(nullptr, DType::kFloat32, {6});
    world.all_gather(stream, mine, all).wait();
    world.reduce_scatter_sum(stream, all, mine).wait();
    EXPECT_NE(test::error_of([&] { world.all_gather(stream, all, mine).wait(); }), "");
  });
}

constexpr int kRepetitions = 300;

TEST(ThreadCommunicatorSlow, FailuresAtAnyTimeEndWithTheirOwnMessage) {
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {
    const int num_ranks = 2 + repetition % 5, bad = repetition % num_ranks;
    const std::string got = test::error_of([&] { run_with_failure(num_ranks, bad, repetition % 2, repetition); });
    ASSERT_TRUE(got.starts_with("rank " + std::to_string(bad) + " lost its data")) << got;
  }
}

TEST(ThreadCommunicatorSlow, TwoFailuresEndWithOneOfTheirMessages) {
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {
    const std::string got = test::error_of([&] {
      run_ranks(6, [&](Communicator& world) {
        const auto third = world.split(world.rank() % 3);
        traffic(*third, repetition);
        jitter(world.rank(), 3, repetition);
        if (world.rank() == 1 || world.rank() == 5) ENGRAM_FAIL("rank ", world.rank(), " lost its data");
        traffic(*third, repetition);
        traffic(world, repetition);
      });
    });
    ASSERT_NE(got.find("lost its data"), std::string::npos) << got;
  }
}

TEST(ThreadCommunicatorSlow, TrafficInManyGroups) {
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {
    run_ranks(2 + repetition % 7, [&](Communicator& world) {
      const auto half = world.split(world.rank() % 2);
      traffic(world, repetition);
      traffic(*half, repetition);
      const auto pairs = half->split(half->rank() / 2);
      traffic(*pairs, repetition);
      traffic(world, repetition);
    });
  }
}

}  // namespace
}  // namespace engram
