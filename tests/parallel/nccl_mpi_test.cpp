#include "parallel/nccl_communicator.h"

#include "parallel/expert_exchange.h"
#include "tests/parallel/device_exchange.h"
#include "tests/parallel/tampering_communicator.h"

// NCCL against the host's collectives, one card for each rank: threads of one process, or ranks of mpirun.
namespace engram {
namespace {

using test::Card;
using test::CardRowWorld;

// Calls body with the group of the host and that of the cards, for worlds that have a card for each rank.
void for_each_world(std::initializer_list<int> sizes, const std::function<void(Communicator&, Communicator&)>& body) {
  if (num_cuda_devices() == 0) GTEST_SKIP() << "no CUDA device";
  test::for_each_world(sizes, [&](Communicator& world) {
    if (world.size() > num_cuda_devices()) return;
    const auto cards = make_nccl_communicator(world, {.card = world.rank(), .timeout_seconds = 60});
    body(world, *cards);
  });
}

// The same for the world and for the groups of two splits.
void for_each_group(std::initializer_list<int> sizes,
                    const std::function<void(Communicator&, Communicator&, Card&)>& body) {
  for_each_world(sizes, [&](Communicator& world, Communicator& cards) {
    Card card(world.rank());
    body(world, cards, card);
    for (const int color : {0, world.rank() / 2, world.rank() % 2}) {
      const auto host = world.split(color), split = cards.split(color);
      body(*host, *split, card);
    }
  });
}

// Sums of these are exact in any order.
Tensor integers(Arena& arena, DType dtype, uint64_t seed, int64_t count) {
  const Tensor result = arena.take("integers", dtype, {count});
  for (int64_t i = 0; i < count; ++i) {
    const int64_t value = static_cast<int64_t>(philox(seed, static_cast<uint64_t>(i), 3).word[0] % 2001) - 1000;
    if (dtype == DType::kInt64)
      host_span<int64_t>(result)[static_cast<size_t>(i)] = value;
    else
      test::set_element(result, i, static_cast<double>(value));
  }
  return result;
}

struct Sums {
  Tensor gathered, scattered, in_place, reduced;
};

// All that adds, and all_gather, of one rank's values [size, count].
Sums run_sums(Communicator& group, Stream& stream, const std::function<Tensor(const Tensor&)>& take,
              const Tensor& values) {
  const int64_t count = values.numel() / group.size();
  Sums result{.gathered = take(values),
              .scattered = take(values.rows(0, count)),
              .in_place = take(values),
              .reduced = take(values)};
  const Tensor mine = result.gathered.rows(group.rank() * count, count), source = take(values);
  Pending gather = group.all_gather(stream, mine, result.gathered);
  Pending scatter = group.reduce_scatter_sum(stream, source, result.scattered);
  gather.wait();
  Pending in_place =
      group.reduce_scatter_sum(stream, result.in_place, result.in_place.rows(group.rank() * count, count));
  Pending reduce = group.all_reduce_sum(stream, result.reduced);
  scatter.wait();
  in_place.wait();
  reduce.wait();
  return result;
}

void expect_sums_equal_host(Communicator& host, Communicator& cards, Card& card, const Tensor& values, bool exact) {
  Arena arena(Device::kCpu, int64_t{256} << 20);
  Arena::Scope scope(card.arena);
  Stream cpu = CpuQueue{};
  const Sums want = run_sums(
      host, cpu, [&](const Tensor& t) { return test::clone(arena, t); }, values);
  const Sums got = run_sums(
      cards, card.stream, [&](const Tensor& t) { return card.upload(t); }, values);
  EXPECT_TRUE(test::same_bits(card.download(arena, got.gathered), want.gathered));
  for (const auto& [of_cards, of_host] :
       {std::pair(got.scattered, want.scattered), std::pair(got.in_place, want.in_place),
        std::pair(got.reduced, want.reduced)}) {
    const Tensor result = card.download(arena, of_cards);
    if (exact || host.size() <= 2)
      EXPECT_TRUE(test::same_bits(result, of_host)) << name_of(values.dtype) << " x " << values.numel();
    else
      EXPECT_LT(test::relative_error(result, of_host), values.dtype == DType::kFloat32 ? 1e-6 : 1e-14);
  }
}

TEST(NcclTest, SumsAndGathersEqualThoseOfTheHost) {
  for_each_group({1, 2, 4, 8}, [](Communicator& host, Communicator& cards, Card& card) {
    const auto rank = static_cast<uint64_t>(host.rank());
    for (const int64_t count : {0, 1, 1031, 200'003}) {
      Arena arena(Device::kCpu, int64_t{256} << 20);
      const int64_t numel = count * host.size();
      for (const DType dtype : {DType::kFloat32, DType::kFloat64, DType::kInt64}) {
        expect_sums_equal_host(host, cards, card, integers(arena, dtype, rank, numel), true);
      }
      expect_sums_equal_host(host, cards, card, test::random_tensor<float>(arena, rank, {numel}), false);
      expect_sums_equal_host(host, cards, card, test::random_tensor<double>(arena, rank, {numel}), false);
    }
  });
}

TEST(NcclTest, BroadcastMovesTheRootsBits) {
  for_each_group({1, 2, 4, 8}, [](Communicator& host, Communicator& cards, Card& card) {
    Arena arena(Device::kCpu, int64_t{1} << 20);
    for (int root = 0; root < host.size(); ++root) {
      const Tensor data = card.upload(test::random_tensor<float>(arena, static_cast<uint64_t>(host.rank()), {1031}));
      cards.broadcast(card.stream, data, root).wait();
      const Tensor want = test::random_tensor<float>(arena, static_cast<uint64_t>(root), {1031});
      EXPECT_TRUE(test::same_bits(card.download(arena, data), want)) << root;
    }
  });
}

// Uneven segments, some of them empty, some in one direction only.
int64_t num_rows_between(int from, int to, int pattern) {
  if (pattern == 0) return (from * 5 + to * 3) % 4;
  if (pattern == 1) return from == 0 && to == 1 ? 1037 : 0;
  return from == to ? 0 : 257;
}

TEST(NcclTest, RowsMoveAsOnTheHost) {
  for_each_group({1, 2, 4, 8}, [](Communicator& host, Communicator& cards, Card& card) {
    Stream cpu = CpuQueue{};
    for (int pattern = 0; pattern < 3; ++pattern) {
      for (const int64_t width : {1, 131}) {
        Arena arena(Device::kCpu, int64_t{16} << 20);
        Arena::Scope scope(card.arena);
        std::vector<int64_t> send_counts, recv_counts;
        int64_t num_sent = 0, num_received = 0;
        for (int peer = 0; peer < host.size(); ++peer) {
          num_sent += send_counts.emplace_back(num_rows_between(host.rank(), peer, pattern));
          num_received += recv_counts.emplace_back(num_rows_between(peer, host.rank(), pattern));
        }
        const Tensor send = test::random_tensor<float>(arena, static_cast<uint64_t>(host.rank()), {num_sent, width});
        const Tensor want = arena.take("want", DType::kFloat32, {num_received, width});
        host.all_to_all_rows(cpu, send, send_counts, want, recv_counts).wait();
        const Tensor got = card.poisoned(DType::kFloat32, {num_received, width});
        cards.all_to_all_rows(card.stream, card.upload(send), send_counts, got, recv_counts).wait();
        EXPECT_TRUE(test::same_bits(card.download(arena, got), want)) << pattern << " " << width;
      }
    }
  });
}

TEST(NcclTest, RowExchangeEqualsThatOfTheHost) {
  for_each_world({1, 2, 4, 8}, [](Communicator& host, Communicator& cards) {
    for (const test::RowPattern& pattern : test::row_patterns()) {
      for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
        test::expect_device_exchange_equals_host({host, cards, host.rank()}, dtype, pattern, true);
        test::expect_device_exchange_equals_host({host, cards, host.rank()}, dtype, pattern, false);
      }
    }
  });
}

// One bit of a message to each rank in turn: no rank gets rows under such a plan, and the next one is good.
TEST(NcclTest, ADamagedMessageEndsThePlanOnAllRanks) {
  using Kind = test::RowMessageKind;
  for_each_world({2, 4, 8}, [](Communicator& host, Communicator& cards) {
    for (const auto& [kind, words] :
         {std::pair(Kind::kHeaders, "header seal: got "), std::pair(Kind::kSlots, "slot ")}) {
      for (int victim = 0; victim < host.size(); ++victim) {
        test::TamperingCommunicator line(cards);
        if (host.rank() == victim) {
          line.damage(kind, 0, [](const Tensor& received) { host_span<int64_t>(received).back() ^= 1; });
        }
        Arena arena(Device::kCpu, int64_t{16} << 20);
        Card card(host.rank());
        CardRowWorld world(line, card, host.rank(), {300, 1031}, {.width = 24, .dtype = DType::kFloat32});
        std::vector<int64_t> rows = test::drawn_rows(world.layout, host.rank(), 500);
        RowPlan plan;
        const std::string message = test::error_of([&] { world.make_plan(rows, plan); });
        EXPECT_NE(message.find("rank " + std::to_string(victim) + " got "), std::string::npos) << message;
        EXPECT_NE(message.find(words), std::string::npos) << message;
        EXPECT_EQ(line.has_damaged(), host.rank() == victim);

        world.make_plan(rows, plan);
        PendingRows pending = world.exchange.begin_fetch(card.stream, world.table.weight(), plan);
        test::RowWorld want(host, {300, 1031}, 24, DType::kFloat32);
        EXPECT_TRUE(test::same_bits(card.download(arena, pending.wait(card.stream)), want.fetch(rows)));
      }
    }
  });
}

TEST(NcclTest, ExpertsGetTheRowsThatTheyGetOnTheHost) {
  for_each_group({1, 2, 4, 8}, [](Communicator& host, Communicator& cards, Card& card) {
    Arena arena(Device::kCpu, int64_t{64} << 20);
    Arena::Scope scope(card.arena);
    const ExpertShard shard{.num_experts = 3 * host.size(), .num_ranks = host.size(), .rank = host.rank()};
    std::vector<int64_t> starts{0};
    for (int64_t e = 0; e < shard.num_experts; ++e) {
      starts.push_back(starts.back() +
                       philox(9, static_cast<uint64_t>(host.rank()), static_cast<uint64_t>(e)).word[0] % 200);
    }
    const Tensor offsets = test::tensor_of<int64_t>(arena, starts, {shard.num_experts + 1});
    const Tensor rows = test::random_tensor<float>(arena, static_cast<uint64_t>(host.rank()), {starts.back(), 65});
    Stream cpu = CpuQueue{};
    ExpertExchange on_host(host, shard, 8), on_cards(cards, shard, 8);
    const ExpertRoute want = on_host.route(cpu, offsets, 10'000);
    const ExpertRoute got = on_cards.route(card.stream, card.upload(offsets), 10'000);
    EXPECT_EQ(got.sent, want.sent);
    EXPECT_EQ(got.received, want.received);

    const Tensor want_arrived = arena.take("arrived", DType::kFloat32, {want.num_received, 65});
    on_host.dispatch(cpu, rows, want, want_arrived).wait();
    const Tensor arrived = card.poisoned(DType::kFloat32, {got.num_received, 65}), sent = card.upload(rows);
    on_cards.dispatch(card.stream, sent, got, arrived).wait();
    EXPECT_TRUE(test::same_bits(card.download(arena, arrived), want_arrived));
    const Tensor back = card.poisoned(DType::kFloat32, {rows.size(0), 65});
    on_cards.combine(card.stream, arrived, got, back).wait();
    EXPECT_TRUE(test::same_bits(card.download(arena, back), rows));
  });
}

TEST(NcclTest, ArgumentsAreCheckedOnTheRankItself) {
  for_each_world({1, 2}, [](Communicator&, Communicator& cards) {
    Card card(cards.rank());
    const Tensor part = card.poisoned(DType::kFloat32, {4}), all = card.poisoned(DType::kFloat32, {9});
    const std::string message = test::error_of([&] { cards.all_gather(card.stream, part, all).wait(); });
    EXPECT_NE(message.find("all_gather: the whole has 9 elements"), std::string::npos) << message;
    const Tensor bytes = card.poisoned(DType::kBFloat16, {4});
    EXPECT_NE(test::error_of([&] { cards.all_reduce_sum(card.stream, bytes).wait(); }).find("no sum of bfloat16"),
              std::string::npos);
    cards.broadcast(card.stream, part, 0).wait();
    synchronize(card.stream);
  });
}

// Rank 0 calls what rank 1 never does.
TEST(NcclTest, ACollectiveWithoutItsPeerEndsInAnErrorThatNamesIt) {
  if (num_cuda_devices() < 2) GTEST_SKIP() << "fewer than two CUDA devices";
  test::for_each_world({2}, [](Communicator& world) {
    std::string message;
    try {
      const auto cards = make_nccl_communicator(world, {.card = world.rank(), .timeout_seconds = 10});
      Card card(world.rank());
      const Tensor data = card.poisoned(DType::kFloat32, {4});
      cards->broadcast(card.stream, data, 0).wait();
      synchronize(card.stream);
      world.barrier();
      if (world.rank() == 1) {
        world.barrier();  // rank 0 has given up
        throw Error("left in order");
      }
      cards->all_reduce_sum(card.stream, data).wait();
      synchronize(card.stream);  // comes back once the watchdog has ended NCCL's kernel
      try {
        cards->all_reduce_sum(card.stream, data).wait();
      } catch (const Error&) {
        world.barrier();
        throw;
      }
      world.barrier();
    } catch (const Error& error) {
      message = error.what();
    }
    const char* want = world.rank() == 0 ? "rank 0 of 2: all_reduce_sum (call 1 of a group of 2 ranks) has not ended"
                                         : "left in order";
    EXPECT_NE(message.find(want), std::string::npos) << message;
  });
}

}  // namespace
}  // namespace engram
