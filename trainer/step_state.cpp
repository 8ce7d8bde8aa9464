#include "trainer/step_state.h"

#include <algorithm>

#include "kernels/core/device.h"
#include "kernels/step_control.h"
#include "kernels/update_control.h"
#include "trainer/schedule.h"

namespace engram {
namespace {

constexpr int64_t kNumSums = 6;
constexpr int64_t kNumDecidingSums = 3;  // the first ones: what step_control() reads
constexpr int64_t kWord = 8;             // bytes of every element here

std::vector<double> schedule_of(const RunConfig& config) {
  std::vector<double> ratios;
  for (int64_t t = 1; t <= std::max<int64_t>(config.train.steps, 1); ++t) {
    ratios.push_back(learning_rate_ratio(config.optimizer.schedule, t, config.train.steps));
  }
  return ratios;
}

}  // namespace

StepState::StepState(Stream& stream, const RunConfig& config) : clip_(config.optimizer.clip) {
  std::vector<double> ratios = schedule_of(config);
  const auto num_ratios = static_cast<int64_t>(ratios.size());
  const int64_t num_mixtures = config.model.num_mixtures(), num_experts = config.model.moe.num_experts;
  const int64_t num_loads = num_mixtures * num_experts;
  buffer_ = Buffer(device_of(stream), (kNumSums + 2 * kNumUpdateControls + num_loads + num_ratios) * kWord);
  char* next = static_cast<char*>(buffer_.data());
  const auto take = [&](DType dtype, int64_t count) {
    return Tensor(std::exchange(next, next + count * kWord), dtype, {count});
  };
  sums_ = take(DType::kFloat64, kNumSums);
  control_ = take(DType::kFloat64, 2 * kNumUpdateControls).reshape({2, kNumUpdateControls});
  loads_ = take(DType::kInt64, num_loads).reshape({num_mixtures, num_experts});
  lr_ratios_ = take(DType::kFloat64, num_ratios);
  copy(stream, Tensor(ratios.data(), DType::kFloat64, {num_ratios}), lr_ratios_);
  begin(stream);
  set_applied_updates(stream, 0);  // waits for the copy
}

void StepState::begin(Stream& stream) const {
  zero(stream, sums_);
  zero(stream, loads_);
}

void StepState::set_row_counts(Stream& stream, int64_t unique, int64_t requested) {
  row_counts_ = {static_cast<double>(unique), static_cast<double>(requested)};
  copy(stream, Tensor(row_counts_.data(), DType::kFloat64, {2}),
       sums_.rows(static_cast<int64_t>(StepSum::kUniqueRows), 2));
}

void StepState::reduce(Stream& stream, Communicator& world) const {
  world.all_reduce_sum(stream, sums_).wait();
  if (loads_.numel() > 0) world.all_reduce_sum(stream, loads_).wait();
}

void StepState::decide(Stream& stream) const {
  step_control(stream, sums_.rows(0, kNumDecidingSums), lr_ratios_,
               {.clip_norm = clip_.norm, .separate = clip_.scope == ClipScope::kSeparate}, control_);
}

StepState::Values StepState::read(Stream& stream) const {
  std::array<double, kNumSums> sums{};
  std::array<double, kNumUpdateControls> control{};
  Values values;
  values.loads.resize(static_cast<size_t>(loads_.numel()));
  copy(stream, sums_, Tensor(sums.data(), DType::kFloat64, {kNumSums}));
  copy(stream, dense_control(), Tensor(control.data(), DType::kFloat64, {kNumUpdateControls}));
  copy(stream, loads_, Tensor(values.loads.data(), DType::kInt64, {loads_.numel()}));
  synchronize(stream);
  const auto sum = [&](StepSum which) { return sums.at(static_cast<size_t>(which)); };
  values.loss = sum(StepSum::kLoss);
  values.dense_squares = sum(StepSum::kDenseSquares);
  values.table_squares = sum(StepSum::kTableSquares);
  values.gates = sum(StepSum::kGates);
  values.unique_rows = sum(StepSum::kUniqueRows);
  values.requested_rows = sum(StepSum::kRequestedRows);
  const UpdateControl decision = read_control({control.data(), {kNumUpdateControls}});
  values.applied = decision.apply;
  values.lr_ratio = decision.lr_ratio;
  return values;
}

int64_t StepState::applied_updates(Stream& stream) const {
  std::array<double, kNumUpdateControls> control{};
  copy(stream, dense_control(), Tensor(control.data(), DType::kFloat64, {kNumUpdateControls}));
  synchronize(stream);
  return read_control({control.data(), {kNumUpdateControls}}).num_updates;
}

void StepState::set_applied_updates(Stream& stream, int64_t count) const {
  const auto num_updates = static_cast<double>(count);
  std::array<double, 2 * kNumUpdateControls> control{0, 1, num_updates, 0, 0, 1, num_updates, 0};
  copy(stream, Tensor(control.data(), DType::kFloat64, {2, kNumUpdateControls}), control_);
  synchronize(stream);  // the host's numbers end with this call
}

}  // namespace engram
