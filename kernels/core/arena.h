#pragma once

#include <string>
#include <vector>

#include "kernels/core/buffer.h"

namespace engram {

// Stack of named tensors in one block of memory. What a Scope took is given back when the scope ends.
// A dry arena has no memory and no limit: it only counts, together with a dry Stream.
class Arena {
 public:
  // poison: fill what is taken with NaN bytes, for tests; host memory only.
  Arena(Device device, int64_t num_bytes, bool poison = false);
  static Arena dry();

  // An uninitialised tensor, aligned to 256 bytes. Throws Error that names the tensor where it does not fit.
  Tensor take(const char* name, DType dtype, std::initializer_list<int64_t> shape);

  int64_t used_bytes() const { return used_; }
  int64_t peak_bytes() const { return peak_; }
  // What lay in the arena when it was fullest, largest first, one line per name.
  std::string report() const;

  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), mark_(arena.used_), num_entries_(arena.entries_.size()) {}
    ~Scope() {
      arena_.used_ = mark_;
      arena_.entries_.resize(num_entries_);
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    int64_t mark_;
    size_t num_entries_;
  };

 private:
  Arena() = default;
  struct Entry {
    const char* name = "";
    int64_t num_bytes = 0;
  };

  Buffer buffer_;
  char* base_ = nullptr;
  int64_t capacity_ = 0;
  int64_t used_ = 0;
  int64_t peak_ = 0;
  bool poison_ = false;
  std::vector<Entry> entries_;
  std::vector<Entry> entries_at_peak_;
};

}  // namespace engram
