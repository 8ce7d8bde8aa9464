#include "model/parameter.h"

#include "kernels/core/device.h"
#include "kernels/random_fill.h"

namespace engram {
namespace {

int64_t product(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

Tensor slice(const Tensor& flat, int64_t offset, const std::vector<int64_t>& shape) {
  return {static_cast<char*>(flat.data) + offset * size_of(flat.dtype), flat.dtype, shape};
}

// FNV-1a of a name: what the initial values of a parameter are keyed by, so that parameters which two models share
// start equal whatever else the models hold.
uint32_t key_of(const std::string& name) {
  uint32_t hash = 2166136261u;
  for (const char letter : name) hash = (hash ^ static_cast<unsigned char>(letter)) * 16777619u;
  return hash;
}

}  // namespace

int64_t Parameter::numel() const { return product(shape); }

void ParameterStore::check_new(const std::string& name) const {
  for (const Parameter& parameter : parameters_) {
    ENGRAM_CHECK(parameter.name != name, "two parameters named ", name);
    ENGRAM_CHECK(key_of(parameter.name) != key_of(name), "parameters ", name, " and ", parameter.name,
                 " would have the same initial values; rename one");
  }
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
  return parameter;
}

StateArray& ParameterStore::add_state(std::string name, DType dtype, std::vector<int64_t> shape) {
  check_new(name);
  ENGRAM_CHECK(states_.empty() || states_.front().value.dtype == dtype, "state array ", name, ": got ", name_of(dtype),
               ", wanted ", name_of(states_.front().value.dtype), " like the others");
  return states_.emplace_back(StateArray{.name = std::move(name), .value = Tensor(nullptr, dtype, shape)});
}

std::vector<int64_t> ParameterStore::numels() const {
  std::vector<int64_t> counts;
  for (const Parameter& parameter : parameters_) counts.push_back(parameter.numel());
  return counts;
}

int64_t ParameterStore::numel() const {
  int64_t count = 0;
  for (const Parameter& parameter : parameters_) count += parameter.numel();
  return count;
}

void ParameterStore::allocate(Stream& stream, const OwnershipMap& map) {
  const auto take = [&](Buffer& buffer, DType dtype, int64_t count) {
    buffer = Buffer(device_of(stream), is_dry(stream) ? 0 : count * size_of(dtype));
    const Tensor tensor(buffer.data(), dtype, {count});
    zero(stream, tensor);
    return tensor;
  };
  values_ = take(value_buffer_, dtype_, map.flat_size());
  grads_ = take(grad_buffer_, accumulator(dtype_), map.flat_size());
  int64_t number = 0;
  for (Parameter& parameter : parameters_) {
    const int64_t offset = map.flat_offset(number++);
    parameter.value = slice(values_, offset, parameter.shape);
    parameter.grad = slice(grads_, offset, parameter.shape);
  }

  int64_t num_state = 0;
  for (const StateArray& state : states_) num_state += state.value.numel();
  state_values_ = take(state_buffer_, states_.empty() ? DType::kFloat32 : states_.front().value.dtype, num_state);
  int64_t begin = 0;
  for (StateArray& state : states_) {
    const int64_t count = state.value.numel();
    state.value.data = state_values_.rows(std::exchange(begin, begin + count), count).data;
  }
}

void ParameterStore::initialize(Stream& stream, uint64_t seed) {
  for (const Parameter& parameter : parameters_)
    fill_initial(stream, parameter, seed, parameter.first, parameter.value);
}

void fill_initial(Stream& stream, const Parameter& parameter, uint64_t seed, int64_t first, const Tensor& values) {
  fill_normal(stream, values,
              {.seed = seed,
               .domain = RandomDomain::kDenseInit,
               .tensor = key_of(parameter.name),
               .first_index = static_cast<uint64_t>(first),
               .mean = parameter.init_mean,
               .deviation = parameter.init_deviation});
}

}  // namespace engram
