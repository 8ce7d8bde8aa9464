#include "model/parameter.h"

#include "kernels/core/device.h"
#include "kernels/random_fill.h"

namespace engram {
namespace {

constexpr int64_t kStateAlignment = 64;

int64_t rounded_up(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }

int64_t product(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

Tensor slice(const Tensor& flat, int64_t offset, const std::vector<int64_t>& shape) {
  return {static_cast<char*>(flat.data) + offset * size_of(flat.dtype), flat.dtype, shape};
}

}  // namespace

int64_t Parameter::numel() const { return product(shape); }

void ParameterStore::check_new(const std::string& name) const {
  for (const Parameter& parameter : parameters_) ENGRAM_CHECK(parameter.name != name, "two parameters named ", name);
  for (const StateArray& state : states_) ENGRAM_CHECK(state.name != name, "two state arrays named ", name);
}

Parameter& ParameterStore::add(std::string name, ParameterKind kind, std::vector<int64_t> shape, double init_deviation,
                               double init_mean) {
  check_new(name);
  Parameter& parameter = parameters_.emplace_back();
  parameter.name = std::move(name);
  parameter.kind = kind;
  parameter.shape = std::move(shape);
  parameter.init_deviation = init_deviation;
  parameter.init_mean = init_mean;
  parameter.offset = num_elements_;
  num_elements_ += parameter.numel();
  return parameter;
}

StateArray& ParameterStore::add_state(std::string name, DType dtype, std::vector<int64_t> shape) {
  check_new(name);
  return states_.emplace_back(StateArray{.name = std::move(name), .value = Tensor(nullptr, dtype, shape)});
}

void ParameterStore::allocate(Stream& stream, DType dtype, int64_t multiple) {
  const int64_t padded = rounded_up(num_elements_, multiple);
  value_buffer_ = Buffer(device_of(stream), padded * size_of(dtype));
  grad_buffer_ = Buffer(device_of(stream), padded * size_of(accumulator(dtype)));
  values_ = value_buffer_.tensor(dtype, {padded});
  grads_ = grad_buffer_.tensor(accumulator(dtype), {padded});
  zero(stream, values_);
  zero(stream, grads_);
  for (Parameter& parameter : parameters_) {
    parameter.value = slice(values_, parameter.offset, parameter.shape);
    parameter.grad = slice(grads_, parameter.offset, parameter.shape);
  }

  int64_t state_bytes = 0;
  for (const StateArray& state : states_) state_bytes += rounded_up(state.value.num_bytes(), kStateAlignment);
  state_buffer_ = Buffer(device_of(stream), state_bytes);
  char* next = static_cast<char*>(state_buffer_.data());
  for (StateArray& state : states_) {
    state.value.data = std::exchange(next, next + rounded_up(state.value.num_bytes(), kStateAlignment));
    zero(stream, state.value);
  }
}

void ParameterStore::initialize(Stream& stream, uint64_t seed) {
  uint32_t number = 0;
  for (const Parameter& parameter : parameters_) {
    fill_normal(stream, parameter.value,
                {.seed = seed,
                 .domain = RandomDomain::kDenseInit,
                 .tensor = number++,
                 .first_index = 0,
                 .mean = parameter.init_mean,
                 .deviation = parameter.init_deviation});
  }
}

}  // namespace engram
