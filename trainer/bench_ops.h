#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/core/arena.h"
#include "kernels/row_segments.h"
#include "parallel/communicator.h"
#include "trainer/cli.h"
#include "trainer/run_config.h"

namespace engram {

// Tensors of one op at the sizes of a configuration, on random values. What is taken counts as bytes that the op moves
// at the least: in() is read, out() written, both() read and written, held() neither.
class OpInputs {
 public:
  OpInputs(Stream& on, Arena& memory, const RunConfig& run, DType type)
      : stream(on), arena(memory), config(run), dtype(type) {}

  Tensor in(std::initializer_list<int64_t> shape) { return count(random(shape, dtype)); }
  Tensor in_wide(std::initializer_list<int64_t> shape) { return count(random(shape, accumulator(dtype))); }
  // Whole numbers in [0, end), uniform or with probability proportional to 1 / (i + 1).
  Tensor in_ids(DType type, std::initializer_list<int64_t> shape, int64_t end, bool zipf = false);
  // Of values whose rows are drawn with probability proportional to 1 / (row + 1).
  RowSegments in_segments(int64_t num_values, int64_t num_rows);
  Tensor out(std::initializer_list<int64_t> shape, DType type) { return count(arena.take("bench", type, shape)); }
  Tensor out(std::initializer_list<int64_t> shape) { return out(shape, dtype); }
  Tensor out_wide(std::initializer_list<int64_t> shape) { return out(shape, accumulator(dtype)); }
  Tensor both_wide(std::initializer_list<int64_t> shape) { return count(count(random(shape, accumulator(dtype)))); }
  Tensor both_zero(std::initializer_list<int64_t> shape);         // accumulator dtype
  Tensor held(std::initializer_list<int64_t> shape, DType type);  // zeros
  // Not counted: normals; these float64 numbers; the int64 numbers 0, step, 2 step, ...
  Tensor random(std::initializer_list<int64_t> shape, DType type);
  Tensor values(std::vector<double> numbers);
  Tensor progression(int64_t count, int64_t step);
  // Counts a tensor (once more).
  Tensor count(const Tensor& x);

  int64_t tokens() const { return config.train.micro_batch * config.data.seq_len; }
  double num_bytes() const { return num_bytes_; }

  Stream& stream;
  Arena& arena;
  const RunConfig& config;
  const DType dtype;
  double flops = 0;  // set by the op where they are what limits it

 private:
  Tensor upload(const void* host, const Tensor& to);
  std::vector<int64_t> draw(int64_t count, int64_t end, bool zipf);

  double num_bytes_ = 0;
  uint32_t number_ = 0;
};

// An op of the table: takes its tensors, makes what it needs once, and returns the call that is timed. The call reads
// the inputs, which must outlive it.
struct BenchOp {
  std::string name;
  std::function<std::function<void()>(OpInputs&)> make;
};

// Every op that a training step of the configuration spends time in.
std::vector<BenchOp> bench_op_table(const RunConfig& config);

// `engram bench ops`: each op's time at the sizes of a configuration, its bytes or operations a second, and their share
// of the copy's or the matrix product's rate in the same run. Several sets of tensors in turn keep the caches cold.
void run_bench_ops(Communicator& world, const BenchOpsCommand& command);

}  // namespace engram
