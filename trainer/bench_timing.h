#pragma once

#include <functional>
#include <vector>

#include "kernels/core/stream.h"
#include "parallel/communicator.h"

namespace engram {

// Dense bfloat16 rate of H100 and H200 by their data sheet, in FLOP/s: model FLOP/s over this is called MFU.
inline constexpr double kDataSheetFlops = 989e12;

struct Spread {
  double median = 0, p10 = 0, p90 = 0;
};
Spread spread_of(std::vector<double> values);  // at least one

// Median time of one call that queues work on the stream, from several groups of calls after a warm-up. Collective
// where a group is given: its ranks make the call equally often.
Spread seconds_per_call(Stream& stream, const std::function<void()>& call, Communicator* group = nullptr);

// Tensors for several calls in turn that keep the caches cold, where one call uses num_bytes.
int64_t num_cold_sets(const Stream& stream, int64_t num_bytes);

// Bytes a second of a copy that reads and writes num_bytes in all between two places of the memory, on random values.
double copy_rate(Stream& stream, int64_t num_bytes);

// What the machine does at its best, on random values; all ranks at once, mean of the ranks.
struct MachineRates {
  double matmul_flops = 0;  // FLOP/s of a rank
  double copy_bytes = 0;    // bytes read and written a second of a rank, between two places of its memory
  const char* matmul_text = "";
};
MachineRates measure_rates(Stream& stream, Communicator& world);

}  // namespace engram
