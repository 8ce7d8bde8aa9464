#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace engram {

// How dense parameters are dealt to the ranks that hold their optimizer state.
enum class ZeroPolicy : uint8_t {
  kFlat,         // one flat vector of all parameters, cut in equal parts: a parameter may be cut
  kWholeMatrix,  // each parameter to one rank, largest first to the rank that has least: none is cut
};

// A run of one parameter's elements, in the parameter's own coordinates.
struct ParameterSlice {
  int64_t parameter;  // its number in the order given
  int64_t offset;     // first element
  int64_t count;

  bool operator==(const ParameterSlice&) const = default;
};

// Who owns which element of the dense parameters (ZeRO stage 1: Rajbhandari et al. 2020, arXiv:1910.02054). All
// parameters lie in one flat vector of num_ranks parts of equal size, part r owned by rank r; gaps between parameters
// and at the ends of parts are padding that belongs to none, holds zeros and is never stored.
// Checkpoints store slices, never offsets into the flat vector, which depend on the number of ranks.
class OwnershipMap {
 public:
  // numels: elements of each parameter, in the order of registration. Throws Error for a negative one.
  OwnershipMap(std::span<const int64_t> numels, int num_ranks, ZeroPolicy policy);

  int num_ranks() const { return num_ranks_; }
  int64_t num_parameters() const { return static_cast<int64_t>(numels_.size()); }
  int64_t part_size() const { return part_size_; }
  int64_t flat_size() const { return part_size_ * num_ranks_; }

  // Where the parameter's elements begin in the flat vector; they are contiguous there. A multiple of 64.
  int64_t flat_offset(int64_t parameter) const { return offsets_[static_cast<size_t>(parameter)]; }

  // What a rank owns, in the order of its part.
  std::vector<ParameterSlice> slices(int rank) const;
  // Where the slice begins within its owner's part.
  int64_t part_offset(const ParameterSlice& slice) const {
    return (flat_offset(slice.parameter) + slice.offset) % part_size_;
  }

 private:
  void lay_out_flat();
  void lay_out_whole();

  std::vector<int64_t> numels_, offsets_;
  std::vector<int64_t> order_;  // parameters by ascending offset
  int num_ranks_;
  int64_t part_size_ = 0;
};

}  // namespace engram
