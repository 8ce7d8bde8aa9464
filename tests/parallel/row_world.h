#pragma once

#include <map>

#include "kernels/row_gather.h"
#include "kernels/row_segment_sum.h"
#include "parallel/memory_table.h"
#include "parallel/row_exchange.h"
#include "tests/parallel/ranks.h"
#include "tests/testing.h"

// What the tests of row exchange share: request patterns, one rank's end of an exchange, and one-process oracles.
namespace engram::test {

// The global rows that a rank asks for. Every rank can tell those of every other.
struct RowPattern {
  const char* name;
  std::function<std::vector<int64_t>(const RowLayout&, int rank, int size)> rows;
};

// `count` rows drawn from all tables, every one of them from its first `width` rows; about one in nine is masked.
inline std::vector<int64_t> drawn_rows(const RowLayout& layout, int rank, int64_t count, int64_t width = INT64_MAX) {
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < count; ++i) {
    const Random128 draw = philox(static_cast<uint64_t>(rank), static_cast<uint64_t>(i), 17);
    const int64_t table = draw.word[0] % layout.num_tables();
    const int64_t row = draw.word[1] % std::min(width, layout.num_rows(table));
    rows.push_back(draw.word[2] % 9 == 0 ? -1 : layout.global_row(table, row));
  }
  return rows;
}

inline std::vector<RowPattern> row_patterns() {
  using Rows = std::vector<int64_t>;
  const auto repeat = [](int64_t count, int64_t row) { return Rows(static_cast<size_t>(count), row); };
  return {
      {"uneven batches", [](const RowLayout& l, int rank, int) { return drawn_rows(l, rank, 150 + 61 * rank); }},
      {"repeated rows", [](const RowLayout& l, int rank, int) { return drawn_rows(l, rank, 300, 3); }},
      {"all the same row", [=](const RowLayout& l, int, int) { return repeat(97, l.global_row(1, 2)); }},
      {"empty odd ranks", [](const RowLayout& l, int rank, int) { return drawn_rows(l, rank, rank % 2 ? 0 : 111); }},
      {"only the last rank",
       [](const RowLayout& l, int rank, int size) { return drawn_rows(l, rank, rank == size - 1 ? 200 : 0); }},
      {"nobody asks", [](const RowLayout&, int, int) { return Rows{}; }},
      {"masked only", [=](const RowLayout&, int rank, int) { return repeat(rank, -1); }},
      {"one row each", [](const RowLayout& l, int rank, int) { return Rows{l.global_row(0, rank)}; }},
      {"rows of one owner, to one side",
       [](const RowLayout& l, int rank, int) {
         Rows rows;
         for (const int64_t row : drawn_rows(l, rank, 200)) {
           if (row >= 0 && rank > 0 && l.owner(row) == 0) rows.push_back(row);
         }
         return rows;
       }},
      {"every row, backwards",
       [](const RowLayout& l, int, int) {
         Rows rows;
         for (int64_t row = l.end_row() - 1; row >= 0; --row) {
           if (l.is_row(row)) rows.push_back(row);
         }
         return rows;
       }},
  };
}

// All ranks together; too many for row_patterns(), which tests go through many times.
inline RowPattern a_million_requests_of_one_row() {
  return {"a million requests of one row", [](const RowLayout& layout, int rank, int size) {
            return std::vector<int64_t>(static_cast<size_t>((1'000'000 + rank) / size), layout.global_row(1, 2));
          }};
}

inline Tensor rows_tensor(std::vector<int64_t>& rows) { return {rows.data(), DType::kInt64, {std::ssize(rows)}}; }

// One rank's shard and its end of the exchange. The initial rows depend on the tables alone.
struct RowWorld {
  RowWorld(Communicator& group, const std::vector<int64_t>& tables, int64_t width, DType dtype)
      : layout(tables, group.size()),
        table(stream, layout, group.rank(), {.width = width, .dtype = dtype, .seed = 9, .deviation = 1.0}),
        exchange(group, layout, {.width = width, .dtype = dtype}) {}

  // Plans and fetches; the result is valid until the next call.
  Tensor fetch(std::vector<int64_t>& rows) {
    exchange.plan(stream, rows_tensor(rows), plan);
    return exchange.begin_fetch(stream, table.weight(), plan).wait(stream);
  }
  // Sums the requests' gradients [n, width] by unique row and returns them to the owners.
  Tensor return_gradients(Arena& arena, const Tensor& gradients) {
    const Tensor sums = arena.take("sums", gradients.dtype, {plan.num_unique(), exchange.row_type().width});
    row_segment_sum(stream, gradients, plan.segments(), sums);
    return exchange.return_gradients(stream, sums, plan).wait(stream);
  }

  Stream stream = CpuQueue{};
  RowLayout layout;
  MemoryTable table;
  RowExchange exchange;
  RowPlan plan;
};

// The gradient of request i of a rank, column by column.
using RequestGradient = std::function<double(int rank, int64_t i, int64_t column)>;

template <class T>
Tensor gradients_of(Arena& arena, int rank, int64_t count, int64_t width, const RequestGradient& gradient) {
  const Tensor result = arena.take("request gradients", dtype_of<T>, {count, width});
  for (int64_t i = 0; i < count * width; ++i) set_element(result, i, gradient(rank, i / width, i % width));
  return result;
}

// Slow oracle: for each row asked for by anybody, each rank's requests added in their order, then the ranks in theirs.
template <class T>
std::map<int64_t, std::vector<T>> fold_by_rank(const RowPattern& pattern, const RowLayout& layout, int64_t width,
                                               const RequestGradient& gradient) {
  std::map<int64_t, std::vector<T>> merged;
  for (int rank = 0; rank < layout.num_shards(); ++rank) {
    std::map<int64_t, std::vector<T>> sums;
    const std::vector<int64_t> rows = pattern.rows(layout, rank, layout.num_shards());
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i] == -1) continue;
      auto& sum = sums.try_emplace(rows[i], static_cast<size_t>(width)).first->second;
      for (size_t c = 0; c < sum.size(); ++c) {
        sum[c] += static_cast<T>(gradient(rank, static_cast<int64_t>(i), static_cast<int64_t>(c)));
      }
    }
    for (const auto& [row, sum] : sums) {
      auto& total = merged.try_emplace(row, static_cast<size_t>(width)).first->second;
      for (size_t c = 0; c < sum.size(); ++c) total[c] += sum[c];
    }
  }
  return merged;
}

}  // namespace engram::test
