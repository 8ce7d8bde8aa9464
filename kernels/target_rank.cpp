#include "kernels/target_rank.h"

#include "kernels/core/dispatch.h"
#include "kernels/target_rank_impl.h"

namespace engram {

void target_rank(Stream& stream, const Tensor& logits, const Tensor& targets, const Tensor& ranks) {
  check_tensor("target_rank: logits", logits, logits.dtype, {-1, -1});
  check_tensor("target_rank: targets", targets, DType::kInt32, {logits.size(0)});
  check_tensor("target_rank: ranks", ranks, DType::kInt64, {logits.size(0)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "target_rank", stream, logits.dtype, [&]<class T>(auto& queue) {
        run(queue, TargetRank<T>{.logits = view<const T, 2>(logits),
                                 .targets = view<const int32_t, 1>(targets),
                                 .ranks = view<int64_t, 1>(ranks)});
      });
}

}  // namespace engram
