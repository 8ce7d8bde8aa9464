#include "trainer/bench_timing.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/arena.h"
#include "kernels/core/device.h"
#include "kernels/core/timeline.h"
#include "kernels/matmul.h"
#include "kernels/random_fill.h"

namespace engram {
namespace {

constexpr int kGroups = 9;
constexpr int kLaunchesOnCuda = 20;
constexpr double kSecondsOfGroupOnCpu = 0.01;
constexpr int64_t kColdBytesOnCuda = int64_t{512} << 20;  // several times the cache
constexpr int64_t kColdBytesOnCpu = int64_t{96} << 20;
constexpr int64_t kMostSets = 16;

// Calls of a group: on CUDA enough for the queue never to run dry, on the CPU as many as fill some milliseconds.
int launches_of_group(Stream& stream, const std::function<void()>& call, Communicator* group) {
  Timeline timeline;
  timeline.mark(stream);
  call();
  timeline.mark(stream);
  synchronize(stream);
  if (device_of(stream) == Device::kCuda) return kLaunchesOnCuda;
  double seconds[] = {timeline.seconds(0, 1)};
  if (group != nullptr) all_reduce_max<double>(*group, seconds);
  return static_cast<int>(std::clamp(kSecondsOfGroupOnCpu / seconds[0], 1.0, 100.0));
}

double matmul_flops(Stream& stream, DType dtype, int64_t size) {
  Arena arena(device_of(stream), 3 * size * size * size_of(dtype) + 1024);
  const auto take = [&](uint32_t number) {
    const Tensor x = arena.take("bench", dtype, {size, size});
    fill_normal(stream, x, {.domain = RandomDomain::kSampling, .tensor = number});
    return x;
  };
  const Tensor a = take(0), b = take(1), c = take(2);
  const double seconds = seconds_per_call(stream, [&] { matmul(stream, a, b, c, {}); }).median;
  return 2.0 * std::pow(static_cast<double>(size), 3) / seconds;
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    return values[static_cast<size_t>(std::lround(share * static_cast<double>(values.size() - 1)))];
  };
  return {.median = at(0.5), .p10 = at(0.1), .p90 = at(0.9)};
}

Spread seconds_per_call(Stream& stream, const std::function<void()>& call, Communicator* group) {
  call();
  const int launches = launches_of_group(stream, call, group);
  Timeline timeline;
  timeline.mark(stream);
  for (int i = 0; i < kGroups; ++i) {
    for (int launch = 0; launch < launches; ++launch) call();
    timeline.mark(stream);
  }
  std::vector<double> seconds;
  for (int i = 0; i < kGroups; ++i) seconds.push_back(timeline.seconds(i, i + 1) / launches);
  return spread_of(seconds);
}

int64_t num_cold_sets(const Stream& stream, int64_t num_bytes) {
  const int64_t cold_bytes = device_of(stream) == Device::kCuda ? kColdBytesOnCuda : kColdBytesOnCpu;
  return std::clamp<int64_t>(cold_bytes / std::max<int64_t>(num_bytes, 1) + 1, 1, kMostSets);
}

double copy_rate(Stream& stream, int64_t num_bytes) {
  const int64_t count = std::max<int64_t>(num_bytes / 8, 1), num_sets = num_cold_sets(stream, num_bytes);  // floats
  const Buffer from(device_of(stream), num_sets * count * 4), to(device_of(stream), num_sets * count * 4);
  const Tensor source = from.tensor(DType::kFloat32, {num_sets * count}),
               target = to.tensor(DType::kFloat32, {num_sets * count});
  fill_normal(stream, source, {.domain = RandomDomain::kSampling});
  int64_t next = 0;
  const Spread seconds = seconds_per_call(stream, [&] {
    const int64_t first = next++ % num_sets * count;
    copy(stream, source.rows(first, count), target.rows(first, count));
  });
  return 8.0 * static_cast<double>(count) / seconds.median;
}

MachineRates measure_rates(Stream& stream, Communicator& world) {
  const bool on_cuda = device_of(stream) == Device::kCuda;
  MachineRates rates{.matmul_text = on_cuda ? "8192 x 8192, bfloat16" : "1024 x 1024, float32"};
  world.barrier();
  rates.matmul_flops =
      on_cuda ? matmul_flops(stream, DType::kBFloat16, 8192) : matmul_flops(stream, DType::kFloat32, 1024);
  world.barrier();
  rates.copy_bytes = copy_rate(stream, int64_t{on_cuda ? 1024 : 256} << 20);
  double sums[] = {rates.matmul_flops, rates.copy_bytes};
  all_reduce_sum<double>(world, sums);
  rates.matmul_flops = sums[0] / world.size();
  rates.copy_bytes = sums[1] / world.size();
  return rates;
}

}  // namespace engram
