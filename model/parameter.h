#pragma once

#include <deque>
#include <limits>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "kernels/core/buffer.h"
#include "parallel/zero.h"

namespace engram {

// A dense trainable tensor. Its value and gradient lie in the flat vectors of its ParameterStore.
struct Parameter {
  std::string name;
  std::vector<int64_t> shape;
  int64_t first = 0;  // where its elements begin in the whole parameter: not 0 for a rank's share of the experts
  double init_deviation = 0.0;
  double init_mean = 0.0;
  Tensor value;  // dtype of the model
  Tensor grad;   // accumulator(dtype); backward passes add to it

  int64_t numel() const;
};

// The initial values of elements [first, first + values.numel()) of a whole parameter: counter-based normals keyed by
// (seed, name, element), computed in double and rounded to the accumulator of values' dtype, then to that. They are the
// same on any number of ranks and devices, and for the parameters that two models have in common.
void fill_initial(Stream& stream, const Parameter& parameter, uint64_t seed, int64_t first, const Tensor& values);

// A named array that is neither trained nor recomputed: part of checkpoints, equal on all ranks (router biases).
struct StateArray {
  std::string name;
  Tensor value;
};

// Parameters that were registered one after the other: ranks own equal parts of their values, and sum their gradients
// at once, as soon as these are complete.
struct ParameterBucket {
  int64_t first_parameter = 0;
  int64_t first_layer = -1;  // read by forward, and complete in backward, from here on; -1: before and after all layers
  OwnershipMap ownership;
  Tensor values, grads;  // [ownership.flat_size()], of the store's
};

// All dense parameters of a model, in registration order, in one flat vector each for values and gradients, bucket by
// bucket: reduction, norm, optimizer and sharding walk the flat vectors, modules see their own tensors.
class ParameterStore {
 public:
  // dtype of the values; gradients have accumulator(dtype).
  explicit ParameterStore(DType dtype) : dtype_(dtype) {}

  // Registers a parameter; the reference stays valid. Throws Error where the name is taken.
  Parameter& add(std::string name, std::vector<int64_t> shape, double init_deviation, double init_mean = 0.0);
  // Registers a state array of zeros; `value` of the reference is set by allocate(). All state arrays have one dtype.
  StateArray& add_state(std::string name, DType dtype, std::vector<int64_t> shape);

  // What is registered up to the next begin_layer() belongs to that layer: forward does not read it before, and
  // backward does not add to its gradients after, see Context::before_layer and on_gradients. Layers ascend.
  void begin_layer(int64_t layer) { layers_.push_back({std::ssize(parameters_), layer}); }

  // Cuts the parameters into buckets of whole layers, of at least `min_elements` elements but for the last one, and
  // takes memory for everything registered, zeroed. None on a dry stream.
  void allocate(Stream& stream, int num_ranks, int64_t min_elements = std::numeric_limits<int64_t>::max());
  // Every value by fill_initial().
  void initialize(Stream& stream, uint64_t seed);

  DType dtype() const { return dtype_; }
  int64_t numel() const;  // of all parameters, without padding
  const Tensor& values() const { return values_; }
  const Tensor& grads() const { return grads_; }
  const std::deque<Parameter>& parameters() const { return parameters_; }
  const std::vector<ParameterBucket>& buckets() const { return buckets_; }
  const std::deque<StateArray>& states() const { return states_; }
  // The elements of all state arrays [n], one array after the other.
  const Tensor& state_values() const { return state_values_; }

 private:
  struct LayerStart {
    int64_t parameter = 0, layer = 0;
  };
  void check_new(const std::string& name) const;
  void make_buckets(int num_ranks, int64_t min_elements);
  void place_parameters();
  void allocate_states(Stream& stream);

  std::deque<Parameter> parameters_;
  std::unordered_map<uint32_t, size_t> parameter_of_key_;  // by what keys its initial values
  std::vector<LayerStart> layers_;
  std::vector<ParameterBucket> buckets_;
  std::deque<StateArray> states_;
  std::unordered_set<std::string> state_names_;
  DType dtype_;
  Buffer value_buffer_, grad_buffer_, state_buffer_;
  Tensor values_, grads_, state_values_;
};

}  // namespace engram
