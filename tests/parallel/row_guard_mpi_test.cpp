#include "tests/parallel/row_world.h"
#include "tests/parallel/tampering_communicator.h"

// Every guard of row exchange: a fault on one rank, seen by all of them, with no table changed and nobody left waiting.
namespace engram {
namespace {

using test::RowMessageKind;
using test::RowWorld;
using test::TamperingCommunicator;
using Change = TamperingCommunicator::Change;

constexpr std::initializer_list<int> kSizes = {1, 2, 4};
constexpr int64_t kWidth = 3, kSlotsPerPeer = 4;
const std::vector<int64_t> kTables{4 * 256 + 100};

// Slots 0, 10, 20 and 30 of every rank's first block.
std::vector<int64_t> good_rows(const RowLayout& layout) {
  std::vector<int64_t> rows;
  for (int owner = 0; owner < layout.num_shards(); ++owner) {
    for (int64_t i = 0; i < kSlotsPerPeer; ++i) rows.push_back(layout.global_row_at(owner, 10 * i));
  }
  return rows;
}

struct Outcome {
  std::string message;
  bool is_peer = false;  // PeerFailed: another rank found it
};

Outcome outcome_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const PeerFailed& error) {
    return {error.what(), true};
  } catch (const Error& error) {
    return {error.what(), false};
  }
  return {};
}

void step(Arena& arena, RowWorld& world, std::vector<int64_t> rows) {
  world.fetch(rows);
  const Tensor gradients = test::random_tensor<float>(arena, 6, {std::ssize(rows), kWidth});
  world.return_gradients(arena, gradients);
}

// `words` is what the victim must say; its peers must repeat it.
void expect_verdict(const Outcome& outcome, bool is_victim, int victim, const std::string& words) {
  EXPECT_NE(outcome.message.find(words), std::string::npos) << "got: " << outcome.message << "\nwanted: " << words;
  EXPECT_EQ(outcome.is_peer, !is_victim) << outcome.message;
  const std::string name =
      (is_victim ? "rank " : "rank " + std::to_string(victim) + ": row exchange: rank ") + std::to_string(victim);
  EXPECT_NE(outcome.message.find(name), std::string::npos) << outcome.message;
}

struct Fault {
  RowMessageKind kind;
  int skip = 0;
  Change change{};
};

// Damages one message on each rank in turn.
void expect_guarded(Communicator& group, const Fault& fault, const std::string& words) {
  for (int victim = 0; victim < group.size(); ++victim) {
    TamperingCommunicator line(group);
    if (group.rank() == victim) line.damage(fault.kind, fault.skip, fault.change);
    Arena arena(Device::kCpu, 1 << 20, /*poison=*/true);
    RowWorld world(line, kTables, kWidth, DType::kFloat32);
    const Tensor before = test::clone(arena, world.table.weight());
    const Outcome outcome = outcome_of([&] { step(arena, world, good_rows(world.layout)); });
    expect_verdict(outcome, group.rank() == victim, victim, words);
    EXPECT_EQ(line.has_damaged(), group.rank() == victim);
    EXPECT_TRUE(test::same_bits(before, world.table.weight()));
    EXPECT_EQ(outcome_of([&] { step(arena, world, good_rows(world.layout)); }).message, "") << "all are still in step";
  }
}

void expect_guarded_everywhere(const Fault& fault, const std::string& words) {
  test::for_each_world(kSizes, [&](Communicator& group) { expect_guarded(group, fault, words); });
}

// A change of the header that came from the last rank, sealed again as a peer with other data would.
Fault header_fault(const std::function<void(RowHeader&)>& change) {
  return {RowMessageKind::kHeaders, 0, [change](const Tensor& received) {
            RowHeader& header = static_cast<RowHeader*>(received.data)[received.size(0) - 1];
            change(header);
            header.close();
          }};
}

// A change of the slots that came from the last rank.
Fault slot_fault(const std::function<void(int64_t*)>& change) {
  return {RowMessageKind::kSlots, 0, [change](const Tensor& received) {
            change(static_cast<int64_t*>(received.data) + received.numel() - kSlotsPerPeer);
          }};
}

// The whole message moved by some bytes, as seen on a faulty network.
Change shift(size_t num_bytes) {
  return [num_bytes](const Tensor& received) {
    char* bytes = static_cast<char*>(received.data);
    std::memmove(bytes + num_bytes, bytes, static_cast<size_t>(received.num_bytes()) - num_bytes);
  };
}

TEST(RowGuardTest, HeaderOfAnotherFormat) {
  expect_guarded_everywhere(header_fault([](RowHeader& header) { ++header.format; }), "header format: got ");
}

TEST(RowGuardTest, HeaderWithAChangedBit) {
  for (int64_t word = 1; word < kHeaderWords; ++word) {
    const Change change = [word](const Tensor& received) {
      static_cast<int64_t*>(received.data)[received.numel() - kHeaderWords + word] ^= int64_t{1} << (7 * word);
    };
    expect_guarded_everywhere({RowMessageKind::kHeaders, 0, change}, "header seal: got ");
  }
}

TEST(RowGuardTest, HeaderOfAnotherPlan) {
  expect_guarded_everywhere(header_fault([](RowHeader& header) { --header.plan; }), "plan number: got 0, wanted 1");
}

TEST(RowGuardTest, HeadersOfSwappedPeers) {
  const Change swap = [](const Tensor& received) {
    RowHeader* headers = static_cast<RowHeader*>(received.data);
    std::swap(headers[0], headers[1]);
  };
  test::for_each_world({2, 4}, [&](Communicator& group) {
    expect_guarded(group, {RowMessageKind::kHeaders, 0, swap}, "route: got a header from 1 to ");
  });
}

TEST(RowGuardTest, HeaderWithACountThatNoShardHas) {
  for (const int64_t count : {int64_t{-1}, int64_t{1'000'000}}) {
    expect_guarded_everywhere(header_fault([=](RowHeader& header) { header.count = count; }),
                              "row count: got " + std::to_string(count) + ", wanted 0 to ");
  }
}

TEST(RowGuardTest, HeaderWithAnotherCountStopsAllRanks) {
  const Fault fault = header_fault([](RowHeader& header) { ++header.count; });
  test::for_each_world({2, 4}, [&](Communicator& group) {
    TamperingCommunicator line(group);
    if (group.rank() == 1) line.damage(fault.kind, fault.skip, fault.change);
    Arena arena(Device::kCpu, 1 << 20);
    RowWorld world(line, kTables, kWidth, DType::kFloat32);
    EXPECT_NE(outcome_of([&] { step(arena, world, good_rows(world.layout)); }).message, "");
  });
}

TEST(RowGuardTest, ShiftedHeaders) {
  for (size_t num_bytes = 1; num_bytes < 8; ++num_bytes) {
    expect_guarded_everywhere({RowMessageKind::kHeaders, 0, shift(num_bytes)}, "header format: got ");
  }
}

TEST(RowGuardTest, SlotsOutsideTheShard) {
  for (const int64_t slot : {int64_t{-1}, int64_t{5 * 256}, int64_t{1} << 40}) {
    expect_guarded_everywhere(slot_fault([=](int64_t* slots) { slots[kSlotsPerPeer - 1] = slot; }),
                              "slot range: got " + std::to_string(slot) + ", wanted 0 to ");
  }
}

TEST(RowGuardTest, SlotsOutOfOrderOrTwice) {
  expect_guarded_everywhere(slot_fault([](int64_t* slots) { std::swap(slots[1], slots[2]); }),
                            "slot order: got 10 after 20, wanted ascending slots");
  expect_guarded_everywhere(slot_fault([](int64_t* slots) { slots[1] = slots[0]; }),
                            "slot order: got 0 after 0, wanted ascending slots");
}

TEST(RowGuardTest, AnotherSlotInTheList) {
  expect_guarded_everywhere(slot_fault([](int64_t* slots) { ++slots[3]; }), "slot sum: got 61, wanted 60");
}

TEST(RowGuardTest, OtherSlotsWithTheSameSum) {
  expect_guarded_everywhere(slot_fault([](int64_t* slots) { ++slots[1], --slots[2]; }), "slot hash: got ");
}

TEST(RowGuardTest, ShiftedSlots) {
  for (size_t num_bytes = 1; num_bytes < 8; ++num_bytes) {
    expect_guarded_everywhere({RowMessageKind::kSlots, 0, shift(num_bytes)},
                              "got a damaged message from rank 0, slot ");
  }
}

// skip 0: rows fetched; skip 1: gradients returned.
TEST(RowGuardTest, ChangedShiftedOrSwappedRows) {
  const auto flip = [](const Tensor& received) { static_cast<uint32_t*>(received.data)[received.numel() - 1] ^= 1u; };
  const auto swap = [](const Tensor& received) {
    const auto values = host_span<float>(received);
    std::swap_ranges(values.begin(), values.begin() + kWidth, values.begin() + kWidth);
  };
  expect_guarded_everywhere({RowMessageKind::kRows, 0, flip}, "row hash: got ");
  expect_guarded_everywhere({RowMessageKind::kRows, 1, flip}, "row hash: got ");
  expect_guarded_everywhere({RowMessageKind::kRows, 0, swap}, "row hash: got ");
  for (size_t num_bytes = 1; num_bytes < 8; ++num_bytes) {
    expect_guarded_everywhere({RowMessageKind::kRows, 0, shift(num_bytes)}, "row hash: got ");
    expect_guarded_everywhere({RowMessageKind::kRows, 1, shift(num_bytes)}, "row hash: got ");
  }
}

// One rank asks for something that is no row.
TEST(RowGuardTest, BadRowsOnOneRank) {
  test::for_each_world(kSizes, [](Communicator& group) {
    const RowLayout layout(kTables, group.size());
    for (const int64_t bad : {int64_t{-2}, layout.global_row(0, kTables[0]), layout.end_row(), INT64_MAX, INT64_MIN}) {
      for (int victim = 0; victim < group.size(); ++victim) {
        Arena arena(Device::kCpu, 1 << 20, /*poison=*/true);
        RowWorld world(group, kTables, kWidth, DType::kFloat32);
        std::vector<int64_t> rows = good_rows(world.layout);
        if (group.rank() == victim) rows[3] = bad;
        const Outcome outcome = outcome_of([&] { step(arena, world, rows); });
        expect_verdict(outcome, group.rank() == victim, victim,
                       " asks for row " + std::to_string(bad) + " at position 3, wanted a row of a table (below ");
        EXPECT_EQ(outcome_of([&] { step(arena, world, good_rows(world.layout)); }).message, "");
      }
    }
  });
}

// Ranks that were set up differently find out before anything moves.
TEST(RowGuardTest, RanksWithOtherRowsOrTables) {
  test::for_each_world({2, 4}, [](Communicator& group) {
    Arena arena(Device::kCpu, 1 << 20);
    const bool is_odd_one = group.rank() == group.size() - 1;
    RowWorld wide(group, kTables, is_odd_one ? kWidth + 1 : kWidth, DType::kFloat32);
    const Outcome width = outcome_of([&] { step(arena, wide, good_rows(wide.layout)); });
    EXPECT_NE(width.message.find("row type: got "), std::string::npos) << width.message;

    RowWorld longer(group, {kTables[0] + (is_odd_one ? 1 : 0)}, kWidth, DType::kFloat32);
    const Outcome layout = outcome_of([&] { step(arena, longer, good_rows(longer.layout)); });
    EXPECT_NE(layout.message.find("row layout: got "), std::string::npos) << layout.message;
  });
}

TEST(RowGuardTest, RefusesWhatDoesNotFit) {
  SelfCommunicator self;
  Arena arena(Device::kCpu, 1 << 20);
  RowWorld world(self, kTables, kWidth, DType::kFloat32);
  const auto error = [](const std::function<void()>& body) { return outcome_of(body).message; };
  const Tensor& weight = world.table.weight();
  const auto fetch = [&](const Tensor& from) {
    world.exchange.begin_fetch(world.stream, from, world.plan).wait(world.stream);
  };
  const auto give = [&](const Tensor& sums) {
    world.exchange.return_gradients(world.stream, sums, world.plan).wait(world.stream);
  };
  EXPECT_NE(error([&] {
              world.exchange.finish_plan(world.stream, world.plan);
            }).find("a plan is finished that was not begun"),
            std::string::npos);
  EXPECT_NE(error([&] { fetch(weight); }).find("fetch under a plan that was not made"), std::string::npos);
  EXPECT_NE(error([&] { give(weight); }).find("gradients returned under a plan that was not made"), std::string::npos);

  std::vector<int64_t> rows = good_rows(world.layout);
  world.fetch(rows);
  EXPECT_NE(error([&] { fetch(weight.rows(0, 7)); }).find("row exchange: weight: got float32 [7, 3]"),
            std::string::npos);
  EXPECT_NE(error([&] {
              give(weight.rows(0, 3));
            }).find("row exchange: gradient sums: got float32 [3, 3], wanted float32 [4, 3]"),
            std::string::npos);
  rows[0] = -7;
  EXPECT_NE(error([&] { world.fetch(rows); }), "");
  EXPECT_NE(error([&] { fetch(weight); }).find("a plan that was not made"), std::string::npos) << "after a failed plan";

  const RowLayout two(kTables, 2);
  EXPECT_NE(error([&] { RowExchange(self, two, {.width = 3}); }).find("got a layout of 2 shards"), std::string::npos);
  EXPECT_NE(error([&] { RowExchange(self, world.layout, {.width = 0}); }).find("got row width 0"), std::string::npos);
}

}  // namespace
}  // namespace engram
