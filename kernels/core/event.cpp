#include "kernels/core/event.h"

#if ENGRAM_WITH_CUDA
#include "kernels/cuda/check.cuh"
#endif

namespace engram {

#if ENGRAM_WITH_CUDA

void Event::Release::operator()(CUevent_st* event) const { cudaEventDestroy(event); }

void Event::record(Stream& stream) {
  const auto* queue = std::get_if<CudaQueue>(&stream);
  if (queue == nullptr) {
    handle_.reset();
    return;
  }
  if (!handle_) {
    cudaEvent_t event = nullptr;
    ENGRAM_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    handle_.reset(event);
  }
  ENGRAM_CUDA_CHECK(cudaEventRecord(handle_.get(), queue->handle));
}

void Event::hold(Stream& stream) const {
  const auto* queue = std::get_if<CudaQueue>(&stream);
  if (handle_ && queue != nullptr) ENGRAM_CUDA_CHECK(cudaStreamWaitEvent(queue->handle, handle_.get(), 0));
}

void Event::synchronize() const {
  if (handle_) ENGRAM_CUDA_CHECK(cudaEventSynchronize(handle_.get()));
}

bool Event::is_reached() const {
  if (!handle_) return true;
  const cudaError_t status = cudaEventQuery(handle_.get());
  if (status == cudaErrorNotReady) {
    cudaGetLastError();  // or the next check of a launch would find it
    return false;
  }
  ENGRAM_CUDA_CHECK(status);
  return true;
}

#else

void Event::Release::operator()(CUevent_st*) const {}
void Event::record(Stream&) {}
void Event::hold(Stream&) const {}
void Event::synchronize() const {}
bool Event::is_reached() const { return true; }

#endif

}  // namespace engram
