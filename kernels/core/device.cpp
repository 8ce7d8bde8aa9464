#include "kernels/core/device.h"

#include <cstdlib>
#include <cstring>

#include "kernels/core/buffer.h"

#if ENGRAM_WITH_CUDA
#include "kernels/cuda/resources.cuh"
#endif

namespace engram {

Buffer::Buffer(Device device, int64_t num_bytes) : num_bytes_(num_bytes) {
  constexpr size_t kAlignment = 256;
  const size_t rounded = (static_cast<size_t>(num_bytes) + kAlignment - 1) / kAlignment * kAlignment;
  void* memory = nullptr;
  if (device == Device::kCpu) {
    memory = std::aligned_alloc(kAlignment, rounded == 0 ? kAlignment : rounded);
  } else {
#if ENGRAM_WITH_CUDA
    if (cudaMalloc(&memory, rounded == 0 ? kAlignment : rounded) != cudaSuccess) memory = nullptr;
#endif
  }
  ENGRAM_CHECK(memory != nullptr, "buffer: ", num_bytes, " bytes wanted on the ",
               device == Device::kCpu ? "CPU" : "CUDA device", ", which has no room for them");
  memory_ = {memory, Release{device}};
}

void Buffer::Release::operator()(void* memory) const {
  if (device == Device::kCpu) std::free(memory);
#if ENGRAM_WITH_CUDA
  if (device == Device::kCuda) cudaFree(memory);
#endif
}

Tensor Buffer::tensor(DType dtype, std::initializer_list<int64_t> shape) const {
  const Tensor result(memory_.get(), dtype, shape);
  ENGRAM_CHECK(result.num_bytes() <= num_bytes_, "buffer: tensor of ", result.num_bytes(), " bytes in a buffer of ",
               num_bytes_);
  return result;
}

Stream make_stream(Device device, int index) {
  if (device == Device::kCpu) return CpuQueue{};
#if ENGRAM_WITH_CUDA
  ENGRAM_CUDA_CHECK(cudaSetDevice(index));
  CudaQueue queue;
  queue.resources.reset(new CudaResources);
  queue.handle = queue.resources->stream;
  return queue;
#else
  ENGRAM_FAIL("device cuda:", index, " wanted, but this program was built without CUDA; build with the preset `cuda`");
#endif
}

#if ENGRAM_WITH_CUDA
void ReleaseCudaResources::operator()(CudaResources* resources) const { delete resources; }
#endif

int num_cuda_devices() {
#if ENGRAM_WITH_CUDA
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
#else
  return 0;
#endif
}

void use_library_kernels(Stream& stream, bool use) {
#if ENGRAM_WITH_CUDA
  if (auto* queue = std::get_if<CudaQueue>(&stream)) queue->resources->use_library_kernels = use;
#endif
  (void)stream, (void)use;
}

void synchronize(Stream& stream) {
#if ENGRAM_WITH_CUDA
  if (auto* queue = std::get_if<CudaQueue>(&stream)) ENGRAM_CUDA_CHECK(cudaStreamSynchronize(queue->handle));
#endif
  (void)stream;
}

void copy(Stream& stream, const Tensor& from, const Tensor& to) {
  ENGRAM_CHECK(from.num_bytes() == to.num_bytes(), "copy: ", from.num_bytes(), " bytes into ", to.num_bytes());
  const auto num_bytes = static_cast<size_t>(from.num_bytes());
  if (num_bytes == 0 || is_dry(stream)) return;
#if ENGRAM_WITH_CUDA
  if (auto* queue = std::get_if<CudaQueue>(&stream)) {
    ENGRAM_CUDA_CHECK(cudaMemcpyAsync(to.data, from.data, num_bytes, cudaMemcpyDefault, queue->handle));
    return;
  }
#endif
  std::memcpy(to.data, from.data, num_bytes);
}

void zero(Stream& stream, const Tensor& tensor) {
  const auto num_bytes = static_cast<size_t>(tensor.num_bytes());
  if (num_bytes == 0 || is_dry(stream)) return;
#if ENGRAM_WITH_CUDA
  if (auto* queue = std::get_if<CudaQueue>(&stream)) {
    ENGRAM_CUDA_CHECK(cudaMemsetAsync(tensor.data, 0, num_bytes, queue->handle));
    return;
  }
#endif
  std::memset(tensor.data, 0, num_bytes);
}

}  // namespace engram
