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

// None on a dry stream.
Tensor take_zeros(Stream& stream, Buffer& buffer, DType dtype, int64_t count) {
  buffer = Buffer(device_of(stream), is_dry(stream) ? 0 : count * size_of(dtype));
  const Tensor tensor(buffer.data(), dtype, {count});
  zero(stream, tensor);
  return tensor;
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
  if (const auto same = parameter_of_key_.find(key_of(name)); same != parameter_of_key_.end()) {
    const std::string& other = parameters_[same->second].name;
    ENGRAM_CHECK(other != name, "two parameters named ", name);
    ENGRAM_FAIL("parameters ", name, " and ", other, " would have the same initial values; rename one");
  }
  ENGRAM_CHECK(!state_names_.contains(name), "two state arrays named ", name);
}

Parameter& ParameterStore::add(std::string name, std::vector<int64_t> shape, double init_deviation, double init_mean) {
  check_new(name);
  parameter_of_key_.emplace(key_of(name), parameters_.size());
  Parameter& parameter = parameters_.emplace_back();
  parameter.name = std::move(name);
  parameter.shape = std::move(shape);
  parameter.init_deviation = init_deviation;
  parameter.init_mean = init_mean;
  return parameter;
}

StateArray& ParameterStore::add_state(std::string name, DType dtype, std::vector<int64_t> shape) {
  check_new(name);
  ENGRAM_CHECK(states_.empty() || states_.front().value.dtype == dtype, "state array ", name, ": got ", name_of(dtype),
               ", wanted ", name_of(states_.front().value.dtype), " like the others");
  state_names_.insert(name);
  return states_.emplace_back(StateArray{.name = std::move(name), .value = Tensor(nullptr, dtype, shape)});
}

int64_t ParameterStore::numel() const {
  int64_t count = 0;
  for (const Parameter& parameter : parameters_) count += parameter.numel();
  return count;
}

void ParameterStore::make_buckets(int num_ranks, int64_t min_elements) {
  std::vector<int64_t> numels;
  int64_t num_elements = 0, first_parameter = 0, first_layer = -1;
  const auto end_bucket = [&] {
    buckets_.push_back({.first_parameter = first_parameter,
                        .first_layer = first_layer,
                        .ownership = OwnershipMap(numels, num_ranks, ZeroPolicy::kFlat),
                        .values = {},
                        .grads = {}});
    first_parameter += std::ssize(numels);
    numels.clear();
    num_elements = 0;
  };
  buckets_.clear();
  auto layer = layers_.begin();
  for (int64_t number = 0; number < std::ssize(parameters_); ++number) {
    for (; layer != layers_.end() && layer->parameter <= number; ++layer) {
      if (!numels.empty() && num_elements >= min_elements) end_bucket();
      if (numels.empty()) first_layer = layer->layer;
    }
    numels.push_back(parameters_[static_cast<size_t>(number)].numel());
    num_elements += numels.back();
  }
  end_bucket();
}

void ParameterStore::allocate(Stream& stream, int num_ranks, int64_t min_elements) {
  make_buckets(num_ranks, min_elements);
  int64_t flat_size = 0;
  for (const ParameterBucket& bucket : buckets_) flat_size += bucket.ownership.flat_size();
  values_ = take_zeros(stream, value_buffer_, dtype_, flat_size);
  grads_ = take_zeros(stream, grad_buffer_, accumulator(dtype_), flat_size);
  int64_t begin = 0;
  for (ParameterBucket& bucket : buckets_) {
    const int64_t size = bucket.ownership.flat_size();
    bucket.values = values_.rows(begin, size);
    bucket.grads = grads_.rows(begin, size);
    begin += size;
  }
  place_parameters();
  allocate_states(stream);
}

void ParameterStore::place_parameters() {
  for (const ParameterBucket& bucket : buckets_) {
    for (int64_t i = 0; i < bucket.ownership.num_parameters(); ++i) {
      Parameter& parameter = parameters_[static_cast<size_t>(bucket.first_parameter + i)];
      const int64_t offset = bucket.ownership.flat_offset(i);
      parameter.value = slice(bucket.values, offset, parameter.shape);
      parameter.grad = slice(bucket.grads, offset, parameter.shape);
    }
  }
}

void ParameterStore::allocate_states(Stream& stream) {
  int64_t num_state = 0;
  for (const StateArray& state : states_) num_state += state.value.numel();
  const DType dtype = states_.empty() ? DType::kFloat32 : states_.front().value.dtype;
  state_values_ = take_zeros(stream, state_buffer_, dtype, num_state);
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
