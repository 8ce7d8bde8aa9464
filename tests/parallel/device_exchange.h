#pragma once

#include "kernels/core/event.h"
#include "tests/parallel/row_world.h"

// Row exchange on a CUDA device against the same exchange on the host, for tests on one card and on several.
namespace engram::test {

// Tensors of one rank on its card.
struct Card {
  explicit Card(int index) : stream(make_stream(Device::kCuda, index)), arena(Device::kCuda, int64_t{256} << 20) {}

  Tensor upload(const Tensor& values) {
    Tensor target = arena.take("card.upload", values.dtype, {values.numel()});
    target.rank = values.rank;
    target.dims = values.dims;
    copy(stream, values, target);
    synchronize(stream);
    return target;
  }
  Tensor poisoned(DType dtype, std::initializer_list<int64_t> shape) {
    const Tensor target = arena.take("card.output", dtype, shape);
    const std::vector<uint8_t> bytes(static_cast<size_t>(target.num_bytes()), 0xff);
    copy(stream, Tensor(const_cast<uint8_t*>(bytes.data()), DType::kUInt8, {target.num_bytes()}), target);
    synchronize(stream);
    return target;
  }
  Tensor download(Arena& host, const Tensor& values) {
    Tensor target = host.take("card.download", values.dtype, {values.numel()});
    target.rank = values.rank;
    target.dims = values.dims;
    copy(stream, values, target);
    synchronize(stream);
    return target;
  }

  Stream stream;
  Arena arena;
};

// float32 rows as bfloat16 or as they are.
inline Tensor rounded_rows(Arena& arena, const Tensor& rows, DType dtype) {
  if (dtype == rows.dtype) return rows;
  const Tensor result = arena.take("rounded", dtype, {rows.size(0), rows.size(1)});
  for (int64_t i = 0; i < rows.numel(); ++i) {
    host_span<bfloat16>(result)[static_cast<size_t>(i)] = bfloat16(host_span<float>(rows)[static_cast<size_t>(i)]);
  }
  return result;
}

// One rank's end of an exchange on its card. Plans are made on a stream of their own.
struct CardRowWorld {
  CardRowWorld(Communicator& group, Card& its_card, int index, const std::vector<int64_t>& tables,
               RowExchange::RowType type)
      : card(its_card),
        plan_stream(make_stream(Device::kCuda, index, StreamPriority::kHigh)),
        layout(tables, group.size()),
        table(card.stream, layout, group.rank(),
              {.width = type.width, .dtype = DType::kFloat32, .seed = 9, .deviation = 1.0}),
        exchange(group, layout, type) {
    synchronize(card.stream);
  }

  void make_plan(std::vector<int64_t>& rows, RowPlan& plan) {
    const Tensor device_rows = card.upload(rows_tensor(rows));
    exchange.plan(plan_stream, device_rows, plan);
  }

  Card& card;
  Stream plan_stream;
  RowLayout layout;
  MemoryTable table;
  RowExchange exchange;
};

// The same ranks on the host and on their cards.
struct DeviceGroup {
  Communicator& host;
  Communicator& cards;
  int card;  // of this rank
};

// Fetch and gradient return of one pattern. Gradients are small integers, whose sums are exact in any order, or random
// numbers.
inline void expect_device_exchange_equals_host(const DeviceGroup& ranks, DType dtype, const RowPattern& pattern,
                                               bool exact) {
  constexpr int64_t kWidth = 24;
  const std::vector<int64_t> tables{300, 1031, 64};
  SCOPED_TRACE(std::string(pattern.name) + ", " + name_of(dtype) + ", " + (exact ? "exact" : "random"));
  Communicator& group = ranks.host;
  RowWorld want(group, tables, kWidth, DType::kFloat32);
  std::vector<int64_t> rows = pattern.rows(want.layout, group.rank(), group.size());
  Arena host(Device::kCpu, (int64_t{16} << 20) + 256 * std::ssize(rows), /*poison=*/true);
  const Tensor want_rows = rounded_rows(host, want.fetch(rows), dtype);
  const auto gradient = [&](int rank, int64_t i, int64_t column) {
    const double value =
        normal(21, RandomDomain::kSampling, static_cast<uint32_t>(rank), static_cast<uint64_t>(i * kWidth + column));
    return exact ? std::round(4 * value) : value;
  };
  const Tensor gradients = gradients_of<float>(host, group.rank(), std::ssize(rows), kWidth, gradient);
  const Tensor want_merged = want.return_gradients(host, gradients);

  Card card(ranks.card);
  CardRowWorld got(ranks.cards, card, ranks.card, tables, {.width = kWidth, .dtype = dtype});
  RowPlan plan;
  got.make_plan(rows, plan);
  EXPECT_TRUE(same_bits(card.download(host, plan.inverse()), want.plan.inverse()));
  EXPECT_TRUE(same_bits(card.download(host, plan.own_slots()), want.plan.own_slots()));
  EXPECT_EQ(plan.stats().masked, want.plan.stats().masked);
  EXPECT_EQ(plan.stats().requests, want.plan.stats().requests);
  PendingRows pending = got.exchange.begin_fetch(card.stream, got.table.weight(), plan);
  EXPECT_TRUE(same_bits(card.download(host, pending.wait(card.stream)), want_rows));

  const Tensor sums = card.poisoned(DType::kFloat32, {plan.num_unique(), kWidth});
  row_segment_sum(card.stream, card.upload(gradients), plan.segments(), sums);
  const Tensor merged = card.download(host, got.exchange.return_gradients(card.stream, sums, plan).wait(card.stream));
  if (exact) {
    EXPECT_TRUE(same_bits(merged, want_merged));
  } else if (merged.numel() > 0) {
    EXPECT_LT(relative_error(merged, want_merged), 1e-6);
  }
}

}  // namespace engram::test
