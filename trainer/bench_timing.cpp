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

// Calls of a group: on CUDA enough for the queue never to run dry, on the CPU as many as fill some milliseconds.
int launches_of_group(Stream& stream, const std::function<void()>& call) {
  Timeline timeline;
  timeline.mark(stream);
  call();
  timeline.mark(stream);
  synchronize(stream);
  if (device_of(stream) == Device::kCuda) return kLaunchesOnCuda;
  return static_cast<int>(std::clamp(kSecondsOfGroupOnCpu / timeline.seconds(0, 1), 1.0, 1000.0));
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

double copy_bytes(Stream& stream, int64_t num_bytes) {
  const Buffer from(device_of(stream), num_bytes), to(device_of(stream), num_bytes);
  const Tensor source = from.tensor(DType::kFloat32, {num_bytes / 4}),
               target = to.tensor(DType::kFloat32, {num_bytes / 4});
  fill_normal(stream, source, {.domain = RandomDomain::kSampling});
  return 2.0 * static_cast<double>(num_bytes) / seconds_per_call(stream, [&] { copy(stream, source, target); }).median;
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    return values[static_cast<size_t>(std::lround(share * static_cast<double>(values.size() - 1)))];
  };
  return {.median = at(0.5), .p10 = at(0.1), .p90 = at(0.9)};
}

Spread seconds_per_call(Stream& stream, const std::function<void()>& call) {
  call();
  const int launches = launches_of_group(stream, call);
  Timeline timeline;
  timeline.mark(stream);
  for (int group = 0; group < kGroups; ++group) {
    for (int i = 0; i < launches; ++i) call();
    timeline.mark(stream);
  }
  std::vector<double> seconds;
  for (int group = 0; group < kGroups; ++group) seconds.push_back(timeline.seconds(group, group + 1) / launches);
  return spread_of(seconds);
}

MachineRates measure_rates(Stream& stream, Communicator& world) {
  const bool on_cuda = device_of(stream) == Device::kCuda;
  MachineRates rates{.matmul_text = on_cuda ? "8192 x 8192, bfloat16" : "1024 x 1024, float32"};
  world.barrier();
  rates.matmul_flops =
      on_cuda ? matmul_flops(stream, DType::kBFloat16, 8192) : matmul_flops(stream, DType::kFloat32, 1024);
  world.barrier();
  rates.copy_bytes = copy_bytes(stream, int64_t{on_cuda ? 512 : 128} << 20);
  double sums[] = {rates.matmul_flops, rates.copy_bytes};
  all_reduce_sum<double>(world, sums);
  rates.matmul_flops = sums[0] / world.size();
  rates.copy_bytes = sums[1] / world.size();
  return rates;
}

}  // namespace engram
