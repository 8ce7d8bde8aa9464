#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <numeric>

#include "kernels/core/rng.h"
#include "tests/parallel/ranks.h"
#include "tests/testing.h"

// Every collective against an oracle that each rank computes alone, bit for bit, on every back end.
namespace engram {
namespace {

constexpr std::initializer_list<int> kSizes = {1, 2, 3, 4, 8};
constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

// Element `index` of what rank `rank` contributes.
template <class T>
T value_of(int rank, int64_t index) {
  return T(normal(7, RandomDomain::kSampling, static_cast<uint32_t>(rank), static_cast<uint64_t>(index)));
}

template <class T>
std::vector<T> values_of(int rank, int64_t count) {
  std::vector<T> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(value_of<T>(rank, i));
  return values;
}

template <class T>
Tensor tensor(std::vector<T>& values, int64_t width = 1) {
  return {values.data(), dtype_of<T>, {std::ssize(values) / width, width}};
}

template <class T>
void expect_same_bits(const std::vector<T>& got, const std::vector<T>& want) {
  ASSERT_EQ(got.size(), want.size());
  EXPECT_TRUE(got.empty() || std::memcmp(got.data(), want.data(), got.size() * sizeof(T)) == 0);
}

// Calls body with the world and with every group of two splits of it: even and odd ranks, and reversed thirds.
void for_each_group(Communicator& world, const std::function<void(Communicator&)>& body) {
  body(world);
  const auto halves = world.split(world.rank() % 2);
  body(*halves);
  const auto thirds = world.split(-(world.rank() / 3));
  body(*thirds);
  const auto nested = halves->split(halves->rank() / 2);
  body(*nested);
}

TEST(CommunicatorTest, SplitOrdersRanksAsInTheParent) {
  test::for_each_world(kSizes, [](Communicator& world) {
    const auto group = world.split(world.rank() % 2 == 0 ? -5 : 1 << 30);
    EXPECT_EQ(group->rank(), world.rank() / 2);
    EXPECT_EQ(group->size(), (world.size() + 1 - world.rank() % 2) / 2);
    for (const int64_t member : test::world_ranks(world, *group)) EXPECT_EQ(member % 2, world.rank() % 2);
  });
}

TEST(CommunicatorTest, BroadcastMovesTheRootsBits) {
  test::for_each_world(kSizes, [](Communicator& world) {
    for_each_group(world, [](Communicator& group) {
      Stream stream = CpuQueue{};
      for (int root = 0; root < group.size(); ++root) {
        for (const int64_t count : {0, 1, 1031}) {
          auto data = values_of<float>(group.rank(), count);
          group.broadcast(stream, tensor(data), root).wait();
          expect_same_bits(data, values_of<float>(root, count));
        }
      }
    });
  });
}

template <class T>
void check_all_gather(Communicator& group, int64_t count) {
  Stream stream = CpuQueue{};
  std::vector<T> want;
  for (int r = 0; r < group.size(); ++r) {
    for (const T value : values_of<T>(r, count)) want.push_back(value);
  }
  auto mine = values_of<T>(group.rank(), count);
  std::vector<T> all(want.size(), T(kPoison));
  group.all_gather(stream, tensor(mine), tensor(all)).wait();
  expect_same_bits(all, want);

  std::vector<T> in_place(want.size(), T(kPoison));
  const Tensor part = tensor(in_place).rows(group.rank() * count, count);
  std::copy(mine.begin(), mine.end(), in_place.begin() + group.rank() * count);
  group.all_gather(stream, part, tensor(in_place)).wait();
  expect_same_bits(in_place, want);
}

TEST(CommunicatorTest, AllGatherLaysPartsInRankOrder) {
  test::for_each_world(kSizes, [](Communicator& world) {
    for_each_group(world, [](Communicator& group) {
      for (const int64_t count : {0, 1, 1031}) {
        check_all_gather<float>(group, count);
        check_all_gather<double>(group, count);
      }
    });
  });
}

// Part group.rank() of the sum, folded in rank order.
template <class T>
std::vector<T> folded_part(Communicator& group, int64_t count) {
  std::vector<T> sum;
  for (int64_t i = group.rank() * count; i < (group.rank() + 1) * count; ++i) {
    T total = value_of<T>(0, i);
    for (int r = 1; r < group.size(); ++r) total += value_of<T>(r, i);
    sum.push_back(total);
  }
  return sum;
}

template <class T>
void check_reduce_scatter(Communicator& group, int64_t count) {
  Stream stream = CpuQueue{};
  const auto want = folded_part<T>(group, count);
  auto all = values_of<T>(group.rank(), group.size() * count);
  std::vector<T> mine(static_cast<size_t>(count), T(kPoison));
  group.reduce_scatter_sum(stream, tensor(all), tensor(mine)).wait();
  expect_same_bits(mine, want);
  expect_same_bits(all, values_of<T>(group.rank(), group.size() * count));

  auto in_place_want = all;
  std::copy(want.begin(), want.end(), in_place_want.begin() + group.rank() * count);
  group.reduce_scatter_sum(stream, tensor(all), tensor(all).rows(group.rank() * count, count)).wait();
  expect_same_bits(all, in_place_want);
}

TEST(CommunicatorTest, ReduceScatterFoldsInRankOrder) {
  test::for_each_world(kSizes, [](Communicator& world) {
    for_each_group(world, [](Communicator& group) {
      for (const int64_t count : {0, 1, 1031, 2500}) {
        check_reduce_scatter<float>(group, count);
        check_reduce_scatter<double>(group, count);
      }
    });
  });
}

template <class T>
void check_all_reduce(Communicator& group, int64_t count) {
  Stream stream = CpuQueue{};
  std::vector<T> want;
  for (int64_t i = 0; i < count; ++i) {
    T total = value_of<T>(0, i);
    for (int r = 1; r < group.size(); ++r) total += value_of<T>(r, i);
    want.push_back(total);
  }
  auto data = values_of<T>(group.rank(), count);
  group.all_reduce_sum(stream, tensor(data)).wait();
  expect_same_bits(data, want);
}

TEST(CommunicatorTest, AllReduceFoldsInRankOrderInPlace) {
  test::for_each_world(kSizes, [](Communicator& world) {
    for_each_group(world, [](Communicator& group) {
      for (const int64_t count : {0, 1, 1031, 2500}) {
        check_all_reduce<float>(group, count);
        check_all_reduce<double>(group, count);
      }
      std::vector<int64_t> ranks{int64_t{1} << 40 | group.rank(), -1};
      Stream stream = CpuQueue{};
      group.all_reduce_sum(stream, tensor(ranks)).wait();
      const int64_t n = group.size();
      EXPECT_EQ(ranks, (std::vector<int64_t>{(int64_t{1} << 40) * n + n * (n - 1) / 2, -n}));
    });
  });
}

// How many rows rank `from` sends to rank `to`: every pattern has empty segments, `pattern` 3 empty ranks as well.
int64_t num_rows_between(int from, int to, int pattern) {
  const int64_t counts[] = {0, (from * 5 + to * 3) % 4, from == to ? 0 : 1, from % 2 == 0 && to == 1 ? 37 : 0};
  return counts[pattern];
}

// What is sent and what is received lie side by side, so that an empty side has the address of the other.
void check_all_to_all(Communicator& group, int pattern, int64_t width, bool send_first = true) {
  Stream stream = CpuQueue{};
  std::vector<int64_t> send_counts, recv_counts;
  std::vector<float> send, want;
  for (int peer = 0; peer < group.size(); ++peer) {
    send_counts.push_back(num_rows_between(group.rank(), peer, pattern));
    recv_counts.push_back(num_rows_between(peer, group.rank(), pattern));
    // Seeded by sender and receiver, so that no two segments are alike.
    for (const float value : values_of<float>(group.rank() * 100 + peer, send_counts.back() * width))
      send.push_back(value);
    for (const float value : values_of<float>(peer * 100 + group.rank(), recv_counts.back() * width))
      want.push_back(value);
  }
  std::vector<float> both(send.size() + want.size(), kPoison);
  const std::span sent = std::span(both).subspan(send_first ? 0 : want.size(), send.size());
  const std::span recv = std::span(both).subspan(send_first ? send.size() : 0, want.size());
  std::ranges::copy(send, sent.begin());
  const auto rows = [&](std::span<float> values) {
    return Tensor(values.data(), DType::kFloat32, {std::ssize(values) / width, width});
  };
  auto pending = group.all_to_all_rows(stream, rows(sent), send_counts, rows(recv), recv_counts);
  send_counts.assign(send_counts.size(), -1);  // read before the call returned
  recv_counts.assign(recv_counts.size(), -1);
  pending.wait();
  expect_same_bits(std::vector(recv.begin(), recv.end()), want);
}

TEST(CommunicatorTest, AllToAllRowsMovesEverySegment) {
  test::for_each_world(kSizes, [](Communicator& world) {
    for_each_group(world, [](Communicator& group) {
      for (int pattern = 0; pattern < 4; ++pattern) {
        for (const int64_t width : {1, 131}) {
          for (const bool send_first : {true, false}) check_all_to_all(group, pattern, width, send_first);
        }
      }
    });
  });
}

TEST(CommunicatorTest, SeveralTransfersInFlight) {
  test::for_each_world(kSizes, [](Communicator& world) {
    Stream stream = CpuQueue{};
    const auto group = world.split(world.rank() % 2);
    auto data = values_of<double>(world.rank(), 1031);
    auto mine = values_of<float>(group->rank(), 7);
    std::vector<float> all(mine.size() * static_cast<size_t>(group->size()), kPoison);
    auto second = values_of<double>(world.rank(), 5);
    Pending first = world.broadcast(stream, tensor(data), world.size() - 1);
    Pending gathered = group->all_gather(stream, tensor(mine), tensor(all));
    Pending last = world.broadcast(stream, tensor(second), 0);
    first.wait();
    world.barrier();
    gathered.wait();
    last.wait();
    expect_same_bits(data, values_of<double>(world.size() - 1, 1031));
    expect_same_bits(second, values_of<double>(0, 5));
    for (int r = 0; r < group->size(); ++r) EXPECT_EQ(all[static_cast<size_t>(r) * 7], value_of<float>(r, 0));
  });
}

TEST(CommunicatorTest, AllReduceGivesEveryRankTheSameBits) {
  test::for_each_world(kSizes, [](Communicator& world) {
    for_each_group(world, [](Communicator& group) {
      for (const size_t count : {size_t{0}, size_t{1}, size_t{13}}) {
        auto sum = values_of<float>(group.rank(), std::ssize(std::vector<char>(count)));
        auto largest = sum;
        all_reduce_sum(group, std::span(sum));
        all_reduce_max(group, std::span(largest));
        for (size_t i = 0; i < count; ++i) {
          float total = value_of<float>(0, static_cast<int64_t>(i)), best = total;
          for (int r = 1; r < group.size(); ++r) total += value_of<float>(r, static_cast<int64_t>(i));
          for (int r = 1; r < group.size(); ++r) best = std::max(best, value_of<float>(r, static_cast<int64_t>(i)));
          EXPECT_EQ(sum[i], total);
          EXPECT_EQ(largest[i], best);
        }
      }
      int64_t ranks = int64_t{1} << 40 | group.rank();
      all_reduce_sum(group, std::span(&ranks, 1));
      EXPECT_EQ(ranks, (int64_t{1} << 40) * group.size() + group.size() * (group.size() - 1) / 2);
    });
  });
}

TEST(CommunicatorTest, NanOfAnyRankIsTheMaximum) {
  test::for_each_world(kSizes, [](Communicator& world) {
    for (int bad = 0; bad < world.size(); ++bad) {
      double value = world.rank() == bad ? std::numeric_limits<double>::quiet_NaN() : world.rank();
      all_reduce_max(world, std::span(&value, 1));
      EXPECT_TRUE(std::isnan(value));
    }
  });
}

// What body() throws on this rank: "Error: ...", "PeerFailed: ..." or "".
std::string failure_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const PeerFailed& error) {
    return std::string("PeerFailed: ") + error.what();
  } catch (const Error& error) {
    return std::string("Error: ") + error.what();
  }
  return "";
}

TEST(CommunicatorTest, VoteEndsAllRanksWithTheFirstProblem) {
  test::for_each_world(kSizes, [](Communicator& world) {
    vote(world, "");
    for (int bad = 0; bad < world.size(); ++bad) {
      const bool mine = world.rank() == bad || world.rank() == bad + 2;
      const std::string problem = "shard " + std::to_string(world.rank()) + " is torn";
      const std::string got = failure_of([&] { vote(world, mine ? problem : ""); });
      const std::string name = std::to_string(bad);
      EXPECT_EQ(got, mine ? "Error: " + problem : "PeerFailed: rank " + name + ": shard " + name + " is torn");
    }
    vote(world, "");
  });
}

TEST(CommunicatorTest, GathersTextsOfAnyLength) {
  test::for_each_world(kSizes, [](Communicator& world) {
    const auto text_of = [](int rank) { return std::string(static_cast<size_t>(rank % 3), 'x'); };
    const std::vector<std::string> texts = gather_texts(world, text_of(world.rank()));
    for (int rank = 0; rank < world.size(); ++rank) EXPECT_EQ(texts.at(static_cast<size_t>(rank)), text_of(rank));
    EXPECT_EQ(gather_texts(world, ""), std::vector<std::string>(texts.size()));
  });
}

TEST(CommunicatorTest, CountsThatDisagreeThrowTheSameErrorEverywhere) {
  test::for_each_world({2, 3, 4, 8}, [](Communicator& world) {
    const std::vector<int64_t> ones(static_cast<size_t>(world.size()), 1);
    std::vector<int64_t> expected = ones;
    if (world.rank() == 1) expected[0] = 2;
    std::vector<float> send(ones.size()), recv(ones.size() + (world.rank() == 1 ? 1 : 0));
    const std::string got = failure_of([&] {
      Stream stream = CpuQueue{};
      world.all_to_all_rows(stream, tensor(send), ones, tensor(recv), expected).wait();
    });
    EXPECT_TRUE(got.starts_with("Error: all_to_all_rows: rank 1 expects 2 rows from rank 0, which sends 1")) << got;
    check_all_to_all(world, 1, 3);  // the group is still in step
  });
}

// Calls that differ between rank 1 and the others, and the words that each rank must read.
struct Disagreement {
  std::function<Pending(Communicator&, Stream&, bool odd)> call;
  const char* message;
};

TEST(CommunicatorTest, CallsThatDisagreeThrowTheSameErrorEverywhere) {
  static std::vector<float> data(64);
  const auto part = [](int64_t count) { return Tensor(data.data(), DType::kFloat32, {count}); };
  const std::vector<Disagreement> cases = {
      {[&](Communicator& c, Stream& s, bool odd) { return c.broadcast(s, part(0), odd ? 1 : 0); },
       "Error: broadcast: rank 1 has float32 x 0 from root 1, rank 0 has float32 x 0 from root 0"},
      {[&](Communicator& c, Stream& s, bool odd) { return c.broadcast(s, part(odd ? 3 : 2), 0); },
       "Error: broadcast: rank 1 has float32 x 3 from root 0, rank 0 has float32 x 2 from root 0"},
      {[&](Communicator& c, Stream& s, bool odd) {
         const Tensor mine(data.data(), odd ? DType::kInt32 : DType::kFloat32, {0});
         return c.all_gather(s, mine, mine);
       },
       "Error: all_gather: rank 1 has int32 x 0, rank 0 has float32 x 0"},
      {[&](Communicator& c, Stream& s, bool odd) { return c.all_reduce_sum(s, part(odd ? 4 : 5)); },
       "Error: all_reduce_sum: rank 1 has float32 x 4, rank 0 has float32 x 5"},
      {[&](Communicator& c, Stream& s, bool odd) {
         return odd ? c.broadcast(s, part(0), 0) : c.reduce_scatter_sum(s, part(0), part(0));
       },
       "rank 1 is in broadcast (its call "},
  };
  test::for_each_world({2, 3, 4, 8}, [&](Communicator& world) {
    for (const Disagreement& wrong : cases) {
      const std::string got = failure_of([&] {
        Stream stream = CpuQueue{};
        wrong.call(world, stream, world.rank() == 1).wait();
      });
      EXPECT_NE(got.find(wrong.message), std::string::npos) << got;
      EXPECT_TRUE(got.starts_with("Error: ")) << got;
    }
    world.barrier();
  });
}

TEST(CommunicatorTest, OneRanksBadArgumentsEndTheCallOnAll) {
  test::for_each_world(kSizes, [](Communicator& world) {
    const bool bad = world.rank() == world.size() - 1;
    std::vector<float> mine(2), all(2 * static_cast<size_t>(world.size()) + (bad ? 1 : 0));
    const std::string got = failure_of([&] {
      Stream stream = CpuQueue{};
      world
          .all_gather(stream, Tensor(mine.data(), DType::kFloat32, {2}),
                      Tensor(all.data(), DType::kFloat32, {std::ssize(all)}))
          .wait();
    });
    const std::string peer = "PeerFailed: all_gather: the arguments of rank " + std::to_string(world.size() - 1);
    EXPECT_TRUE(got.starts_with(bad ? "Error: all_gather: the whole has " : peer)) << got;
    world.barrier();
  });
}

}  // namespace
}  // namespace engram
