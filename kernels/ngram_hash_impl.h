#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

struct CompressTokens {
  View<const int32_t, 1> tokens;
  View<const int32_t, 1> map;
  View<int32_t, 1> compressed;
};

struct NgramHash {
  View<const int32_t, 2> compressed;
  View<const uint8_t, 2> starts;  // data == nullptr: no segments
  int64_t history;
  int64_t heads;
  int32_t pad_id;
  View<const int64_t, 1> multipliers;
  View<const int64_t, 1> primes;
  View<const int64_t, 1> offsets;
  View<int64_t, 2> rows;
};

void run(CpuQueue&, const CompressTokens&);
void run(CpuQueue&, const NgramHash&);
void run(CudaQueue&, const CompressTokens&);
void run(CudaQueue&, const NgramHash&);

}  // namespace engram
