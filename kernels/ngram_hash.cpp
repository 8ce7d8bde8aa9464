#include "kernels/ngram_hash.h"

#include "kernels/core/dispatch.h"
#include "kernels/ngram_hash_impl.h"

namespace engram {

void compress_tokens(Stream& stream, const Tensor& tokens, const Tensor& map, const Tensor& compressed) {
  check_tensor("compress_tokens: tokens", tokens, DType::kInt32, {-1});
  check_tensor("compress_tokens: map", map, DType::kInt32, {-1});
  check_tensor("compress_tokens: compressed", compressed, DType::kInt32, {tokens.size(0)});
  dispatch<Cpu<int32_t>, Cuda<int32_t>>("compress_tokens", stream, tokens.dtype, [&]<class T>(auto& queue) {
    run(queue,
        CompressTokens{
            .tokens = view<const T, 1>(tokens), .map = view<const T, 1>(map), .compressed = view<T, 1>(compressed)});
  });
}

void ngram_hash(Stream& stream, const Tensor& compressed, const Tensor& starts, int64_t history,
                const NgramHashConstants& constants, const Tensor& rows) {
  check_tensor("ngram_hash: compressed", compressed, DType::kInt32, {-1, -1});
  const int64_t batch = compressed.size(0), length = compressed.size(1);
  ENGRAM_CHECK(history >= 0 && history <= length, "ngram_hash: history ", history, "; wanted 0 to the ", length,
               " positions given");
  check_tensor("ngram_hash: multipliers", constants.multipliers, DType::kInt64, {-1});
  const int64_t num_columns = (constants.multipliers.size(0) - 1) * constants.heads;
  check_tensor("ngram_hash: primes", constants.primes, DType::kInt64, {num_columns});
  check_tensor("ngram_hash: offsets", constants.offsets, DType::kInt64, {num_columns});
  check_tensor("ngram_hash: rows", rows, DType::kInt64, {batch * (length - history), num_columns});
  if (!starts.empty()) check_tensor("ngram_hash: starts", starts, DType::kUInt8, {batch, length});
  dispatch<Cpu<int64_t>, Cuda<int64_t>>("ngram_hash", stream, rows.dtype, [&]<class T>(auto& queue) {
    run(queue, NgramHash{.compressed = view<const int32_t, 2>(compressed),
                         .starts = optional_view<const uint8_t, 2>(starts),
                         .history = history,
                         .heads = constants.heads,
                         .pad_id = constants.pad_id,
                         .multipliers = view<const T, 1>(constants.multipliers),
                         .primes = view<const T, 1>(constants.primes),
                         .offsets = view<const T, 1>(constants.offsets),
                         .rows = view<T, 2>(rows)});
  });
}

}  // namespace engram
