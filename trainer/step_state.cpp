#include "trainer/step_state.h"

#include <algorithm>

#include "kernels/core/device.h"
#include "kernels/update_control.h"
#include "trainer/schedule.h"

namespace engram {
namespace {

constexpr int64_t index(StepSum which) { return static_cast<int64_t>(which); }

static_assert(index(StepSum::kLoss) == 0 && index(StepSum::kDenseSquares) == 1 && index(StepSum::kTableSquares) == 2);
constexpr int64_t kNumDecidingSums = 3;  // the first ones: what step_control() reads
constexpr int64_t kFirstHostSum = index(StepSum::kUniqueRows), kNumSums = index(StepSum::kCount);
constexpr int64_t kNumHostSums = kNumSums - kFirstHostSum;
constexpr int64_t kWord = 8;  // bytes of every element here

std::vector<double> schedule_of(const RunConfig& config) {
  std::vector<double> ratios;
  for (int64_t t = 1; t <= std::max<int64_t>(config.train.steps, 1); ++t) {
    ratios.push_back(learning_rate_ratio(config.optimizer.schedule, t, config.train.steps));
  }
  return ratios;
}

// Gives out one tensor after the other from `next` on.
Tensor take(char*& next, DType dtype, std::initializer_list<int64_t> shape) {
  const Tensor tensor(next, dtype, shape);
  next += tensor.num_bytes();
  return tensor;
}

UpdateControl control_of(const Tensor& host) { return read_control(view<const double, 1>(host)); }

}  // namespace

StepState::StepState(Stream& stream, const RunConfig& config)
    : options_{.clip_norm = config.optimizer.clip.norm,
               .separate = config.optimizer.clip.scope == ClipScope::kSeparate,
               .spike_sigma = config.train.spike_sigma,
               .skip_spikes = config.train.spike_policy == SpikePolicy::kSkip},
      num_gate_sums_(std::ssize(config.model.engram.layers)) {
  std::vector<double> ratios = schedule_of(config);
  const auto num_ratios = static_cast<int64_t>(ratios.size());
  const int64_t num_mixtures = config.model.num_mixtures(), num_experts = config.model.moe.num_experts;
  const int64_t num_seen =
      kNumSums + num_gate_sums_ + 2 * kNumUpdateControls + num_mixtures * num_experts + kSpikeGuard;
  buffer_ = Buffer(device_of(stream), (num_seen + num_ratios) * kWord);
  seen_by_host_ = buffer_.tensor(DType::kUInt8, {num_seen * kWord});
  char* next = static_cast<char*>(buffer_.data());
  sums_ = take(next, DType::kFloat64, {kNumSums + num_gate_sums_});
  control_ = take(next, DType::kFloat64, {2, kNumUpdateControls});
  loads_ = take(next, DType::kInt64, {num_mixtures, num_experts});
  guard_ = take(next, DType::kFloat64, {kSpikeGuard});
  lr_ratios_ = take(next, DType::kFloat64, {num_ratios});
  for (HostCopy& host : host_copies_) host = make_host_copy(device_of(stream));
  copy(stream, Tensor(ratios.data(), DType::kFloat64, {num_ratios}), lr_ratios_);
  set_history(stream, {});  // waits for the copy
}

StepState::HostCopy StepState::make_host_copy(Device device) const {
  const int64_t num_bytes = kNumHostSums * kWord + seen_by_host_.num_bytes();
  HostCopy host;
  host.memory = device == Device::kCuda ? Buffer::pinned(num_bytes) : Buffer(device, num_bytes);
  char* next = static_cast<char*>(host.memory.data());
  host.host_sums = take(next, DType::kFloat64, {kNumHostSums});
  host.sums = take(next, DType::kFloat64, {sums_.numel()});
  host.control = take(next, DType::kFloat64, {2, kNumUpdateControls});
  host.loads = take(next, DType::kInt64, {loads_.numel()});
  host.guard = take(next, DType::kFloat64, {kSpikeGuard});
  return host;
}

void StepState::begin(Stream& stream) {
  ++num_begun_;
  HostCopy& host = host_copy();
  host.arrived.synchronize();  // two steps ago: hardly ever waits
  host.number = num_begun_;
  std::ranges::fill(host_span<double>(host.host_sums), 0);
  zero(stream, sums_);
  zero(stream, loads_);
}

Tensor StepState::sum(StepSum which) const {
  assert(index(which) < kFirstHostSum);  // reduce() overwrites what hosts know
  return sums_.rows(index(which), 1);
}

double& StepState::host_sum(StepSum which) {
  assert(index(which) >= kFirstHostSum);
  return host_span<double>(host_copy().host_sums)[static_cast<size_t>(index(which) - kFirstHostSum)];
}

void StepState::reduce(Stream& stream, Communicator& world) {
  copy(stream, host_copy().host_sums, sums_.rows(kFirstHostSum, kNumHostSums));
  Pending sums = world.all_reduce_sum(stream, sums_);
  Pending loads = loads_.numel() > 0 ? world.all_reduce_sum(stream, loads_) : Pending();
  sums.wait();
  loads.wait();
}

void StepState::decide(Stream& stream) const {
  step_control(stream, sums_.rows(0, kNumDecidingSums), lr_ratios_, options_, guard_, control_);
}

StepState::PendingValues StepState::begin_read(Stream& stream) {
  HostCopy& host = host_copy();
  copy(stream, seen_by_host_, Tensor(host.sums.data, DType::kUInt8, {seen_by_host_.num_bytes()}));
  host.arrived.record(stream);
  PendingValues pending;
  pending.copy_ = &host;
  pending.number_ = num_begun_;
  return pending;
}

StepState::Values StepState::PendingValues::wait() const {
  assert(copy_->number == number_);  // waited for too late: the memory belongs to a later step
  copy_->arrived.synchronize();
  const UpdateControl decision = control_of(copy_->control.rows(0, 1).reshape({kNumUpdateControls}));
  const auto sums = host_span<const double>(copy_->sums);
  return {.sums = sums.first(kNumSums),
          .gate_sums = sums.subspan(kNumSums),
          .applied = decision.apply,
          .lr_ratio = decision.lr_ratio,
          .is_spike = host_span<const double>(copy_->guard)[1] != 0,
          .loads = host_span<const int64_t>(copy_->loads)};
}

StepState::History StepState::history(Stream& stream) const {
  std::array<double, kNumUpdateControls> control{};
  const Tensor host(control.data(), DType::kFloat64, {kNumUpdateControls});
  History history{.guard = std::vector<double>(kSpikeGuard)};
  copy(stream, dense_control(), host);
  copy(stream, guard_, Tensor(history.guard.data(), DType::kFloat64, {kSpikeGuard}));
  synchronize(stream);
  history.applied_updates = control_of(host).num_updates;
  return history;
}

void StepState::set_history(Stream& stream, const History& history) const {
  const int64_t size = std::ssize(history.guard);
  ENGRAM_CHECK(size == 0 || size == kSpikeGuard, "the memory of earlier losses and norms has ", size,
               " numbers, wanted ", kSpikeGuard);
  const auto num_updates = static_cast<double>(history.applied_updates);
  std::array<double, 2 * kNumUpdateControls> control{0, 1, num_updates, 0, 0, 1, num_updates, 0};
  std::vector<double> guard = history.guard;
  guard.resize(kSpikeGuard);
  copy(stream, Tensor(control.data(), DType::kFloat64, {2, kNumUpdateControls}), control_);
  copy(stream, Tensor(guard.data(), DType::kFloat64, {kSpikeGuard}), guard_);
  synchronize(stream);  // the host's numbers end with this call
}

}  // namespace engram
