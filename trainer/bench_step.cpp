#include "trainer/bench_step.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#include <numeric>

#include "kernels/core/device.h"
#include "kernels/matmul.h"
#include "kernels/random_fill.h"
#include "model/accounting.h"
#include "trainer/config.h"
#include "trainer/progress.h"
#include "trainer/step.h"

namespace engram {
namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// FLOP/s of a square float32 matrix product on this rank, while all ranks do the same: median of several.
double matmul_rate(Replica& r) {
  constexpr int64_t kSize = 1024;
  constexpr int kRepeats = 9;
  Arena arena(device_of(r.stream), 3 * kSize * kSize * size_of(DType::kFloat32));
  const auto take = [&](uint32_t number) {
    const Tensor x = arena.take("bench", DType::kFloat32, {kSize, kSize});
    fill_normal(r.stream, x, {.domain = RandomDomain::kSampling, .tensor = number});
    return x;
  };
  const Tensor a = take(0), b = take(1), c = take(2);
  std::vector<double> seconds;
  for (int i = 0; i < kRepeats; ++i) {
    r.world.barrier();
    const double begin = seconds_now();
    matmul(r.stream, a, b, c, {});
    synchronize(r.stream);
    seconds.push_back(seconds_now() - begin);
  }
  return 2.0 * kSize * kSize * kSize / median(seconds);
}

// Token ids with probability proportional to 1 / (id + 1).
Batch random_batch(const Replica& r, uint64_t number) {
  Batch batch;
  batch.num_samples = r.local_sequences();
  batch.history = r.history();
  batch.seq_len = r.config.data.seq_len;
  const double log_size = std::log(static_cast<double>(r.config.model.vocab_size));
  const auto count = static_cast<uint64_t>(batch.num_samples * batch.row_length());
  for (uint64_t i = 0; i < count; ++i) {
    const Random128 random = philox(static_cast<uint64_t>(r.world.rank()), i, number);
    const double id = std::exp(double{uniform(random.word[0])} * log_size) - 1;
    batch.tokens.push_back(static_cast<int32_t>(id));
    batch.starts.push_back(i % 500 == 0 ? 1 : 0);
  }
  return batch;
}

struct Times {
  std::vector<double> step, exchange, reduce;
};

void print(const Replica& r, const Times& times, double matmul_flops) {
  const double step = median(times.step), ranks = r.world.size();
  const double tokens = static_cast<double>(r.config.train.global_batch * r.config.data.seq_len);
  const double flops = tokens * training_flops_per_token(r.config.model, r.config.data.seq_len) / step;
  std::cout << fmt::format(
      "step                     {:.2f} ms (median of {}), {} tok/s\n"
      "model FLOP/s             {} on {} ranks\n"
      "matrix product FLOP/s    {} (1024 x 1024, float32, all ranks at once)\n"
      "ratio                    {:.3f}\n"
      "row exchange             {:.2f} % of the step\n"
      "dense reduction          {:.2f} % of the step\n",
      step * 1e3, times.step.size(), scaled_text(tokens / step), scaled_text(flops), r.world.size(),
      scaled_text(matmul_flops * ranks), flops / (matmul_flops * ranks), 100 * median(times.exchange) / step,
      100 * median(times.reduce) / step);
}

}  // namespace

void run_bench_step(Communicator& world, const BenchStepCommand& command) {
  const RunConfig config = load_config(command.config, command.sets);
  check_computable(config);
  check_world(config, world.size());
  std::vector<int32_t> ids(static_cast<size_t>(config.model.vocab_size));  // every token its own key
  std::iota(ids.begin(), ids.end(), 0);
  Replica replica(config, world, {.compressed_ids = ids, .num_keys = config.model.vocab_size}, DType::kFloat32);

  Times times;
  for (int64_t i = 0; i < command.warmup + command.steps; ++i) {
    const Batch batch = random_batch(replica, static_cast<uint64_t>(i));
    world.barrier();
    const StepReport report = train_step(replica, batch);
    if (i < command.warmup) continue;
    times.step.push_back(report.seconds);
    times.exchange.push_back(report.seconds_exchange);
    times.reduce.push_back(report.seconds_reduce);
  }
  double rate = matmul_rate(replica);
  all_reduce_sum<double>(world, std::span(&rate, 1));
  if (world.rank() == 0) print(replica, times, rate / world.size());
}

}  // namespace engram
