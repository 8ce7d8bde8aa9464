#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

struct UniqueRows {
  View<const int64_t, 1> keys;
  int64_t end;
  View<int64_t, 1> unique;
  View<int64_t, 1> inverse;
  View<int32_t, 1> order;
  View<int32_t, 1> offsets;
  View<int64_t, 1> count;
};

void run(CpuQueue&, const UniqueRows&);
void run(CudaQueue&, const UniqueRows&);

}  // namespace engram
