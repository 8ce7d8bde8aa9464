#include "kernels/core/check.h"
#include "kernels/ngram_hash.h"
#include "kernels/ngram_hash_impl.h"

namespace engram {

void run(CpuQueue& queue, const CompressTokens& a) {
  queue.for_each_row(a.tokens.size(0), [&](int64_t i) {
    const int32_t token = a.tokens(i);
    ENGRAM_CHECK(token == kDeadToken || (token >= 0 && token < a.map.size(0)), "compress_tokens: token ", token,
                 " at position ", i, "; wanted 0 to ", a.map.size(0) - 1);
    a.compressed(i) = token == kDeadToken ? kDeadToken : a.map(token);
  });
}

void run(CpuQueue& queue, const NgramHash& a) {
  const int64_t seq = a.compressed.size(1) - a.history, max_order = a.multipliers.size(0);
  queue.for_each_row(a.rows.size(0), [&](int64_t position) {
    const int64_t batch = position / seq, last = a.history + position % seq;
    int64_t* rows = a.rows.row(position);
    bool blocked = false;
    uint64_t mix = 0;
    for (int64_t slot = 0; slot < max_order; ++slot) {
      const int64_t at = last - slot;
      blocked = blocked || at < 0 || a.compressed(batch, at) == kDeadToken;
      const auto id = static_cast<uint64_t>(blocked ? a.pad_id : a.compressed(batch, at));
      mix ^= id * static_cast<uint64_t>(a.multipliers(slot));
      blocked = blocked || (a.starts.data != nullptr && a.starts(batch, at) != 0);  // nothing before a start is seen
      for (int64_t head = 0; slot > 0 && head < a.heads; ++head) {
        const int64_t column = (slot - 1) * a.heads + head;
        rows[column] = static_cast<int64_t>(mix % static_cast<uint64_t>(a.primes(column))) + a.offsets(column);
      }
    }
  });
}

}  // namespace engram
