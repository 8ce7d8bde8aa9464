#pragma once

#include <cublasLt.h>

#include <array>
#include <limits>
#include <map>
#include <memory>

#include "kernels/core/buffer.h"
#include "kernels/core/device.h"
#include "kernels/cuda/check.cuh"

// Throws Error with cuBLAS's name of the failure unless the call succeeded.
#define ENGRAM_CUBLAS_CHECK(call)                                                                                    \
  do {                                                                                                               \
    const cublasStatus_t engram_status = (call);                                                                     \
    ENGRAM_CHECK(engram_status == CUBLAS_STATUS_SUCCESS, #call, ": cuBLAS status ", static_cast<int>(engram_status), \
                 ", ", cublasLtGetStatusName(engram_status));                                                        \
  } while (false)

namespace engram {

// What ops on one CUDA stream share; made and freed with it.
struct CudaResources {
  static constexpr int64_t kWorkspaceBytes = int64_t{64} << 20;

  explicit CudaResources(StreamPriority priority) : workspace(Device::kCuda, kWorkspaceBytes) {
    int lowest = 0, highest = 0;  // numbers that descend as the priority rises
    ENGRAM_CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&lowest, &highest));
    const int number = priority == StreamPriority::kHigh ? highest : lowest;
    ENGRAM_CUDA_CHECK(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, number));
    ENGRAM_CUBLAS_CHECK(cublasLtCreate(&cublas));
    ENGRAM_CUDA_CHECK(cudaGetDevice(&device));
    read_attribute(compute_capability, cudaDevAttrComputeCapabilityMajor);
    read_attribute(num_multiprocessors, cudaDevAttrMultiProcessorCount);
    keep_freed_memory();
  }
  ~CudaResources() {
    cudnn.reset();
    cublasLtDestroy(cublas);
    cudaStreamDestroy(stream);
  }
  CudaResources(const CudaResources&) = delete;
  CudaResources& operator=(const CudaResources&) = delete;

  cudaStream_t stream = nullptr;
  cublasLtHandle_t cublas = nullptr;
  int device = 0;
  int compute_capability = 0;  // its major number: 9 is Hopper
  int num_multiprocessors = 0;
  bool use_library_kernels = true;  // see kernels/core/device.h
  bool deterministic = true;        // the same
  // Scratch memory of the op at hand, and of no other: work on a stream runs in order.
  Buffer workspace;
  // Chosen algorithms by everything that the choice depends on; filled by matmul.
  std::map<std::array<int64_t, 10>, cublasLtMatmulAlgo_t> matmul_algorithms;
  // Handle and graphs of cuDNN; a shared_ptr because it alone can hide their type, known to one source file.
  std::shared_ptr<void> cudnn;

 private:
  void read_attribute(int& value, cudaDeviceAttr attribute) const {
    ENGRAM_CUDA_CHECK(cudaDeviceGetAttribute(&value, attribute, device));
  }
  // Otherwise every wait for the stream gives what ops took from it (StreamMemory) back to the driver.
  void keep_freed_memory() const {
    cudaMemPool_t pool = nullptr;
    ENGRAM_CUDA_CHECK(cudaDeviceGetDefaultMemPool(&pool, device));
    uint64_t threshold = std::numeric_limits<uint64_t>::max();
    ENGRAM_CUDA_CHECK(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &threshold));
  }
};

// `count` elements of the queue's workspace past its first `used` bytes, which then include them. Throws Error where
// they do not fit.
template <class T>
T* scratch(CudaQueue& queue, int64_t count, int64_t& used) {
  const int64_t begin = (used + 255) / 256 * 256;
  used = begin + count * static_cast<int64_t>(sizeof(T));
  ENGRAM_CHECK(used <= CudaResources::kWorkspaceBytes, "workspace: ", used, " bytes wanted, ",
               CudaResources::kWorkspaceBytes, " are there; lower train.micro_batch");
  return reinterpret_cast<T*>(static_cast<char*>(queue.resources->workspace.data()) + begin);
}

}  // namespace engram
