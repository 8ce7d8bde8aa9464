#pragma once

#include <cuda_runtime.h>

#include "kernels/core/check.h"

// Throws Unavailable with CUDA's own words unless the call succeeded.
#define ENGRAM_CUDA_CHECK(call)                                                                                        \
  do {                                                                                                                 \
    const cudaError_t engram_status = (call);                                                                          \
    ENGRAM_CHECK_AS(::engram::Unavailable, engram_status == cudaSuccess, #call, ": ", cudaGetErrorName(engram_status), \
                    ", ", cudaGetErrorString(engram_status));                                                          \
  } while (false)
