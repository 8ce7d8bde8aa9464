#include "kernels/core/device.h"

#include <cstdlib>
#include <cstring>

#include "kernels/core/buffer.h"
#include "kernels/core/op_profile.h"

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
  ENGRAM_CHECK_AS(Unavailable, memory != nullptr, "buffer: ", num_bytes, " bytes wanted on the ",
                  device == Device::kCpu ? "CPU" : "CUDA device", ", which has no room for them");
  memory_ = {memory, Release{device, false}};
}

Buffer Buffer::pinned(int64_t num_bytes) {
#if ENGRAM_WITH_CUDA
  Buffer result;
  void* memory = nullptr;
  ENGRAM_CUDA_CHECK(cudaMallocHost(&memory, num_bytes == 0 ? 1 : static_cast<size_t>(num_bytes)));
  result.memory_ = {memory, Release{Device::kCpu, true}};
  result.num_bytes_ = num_bytes;
  return result;
#else
  return {Device::kCpu, num_bytes};
#endif
}

void Buffer::Release::operator()(void* memory) const {
#if ENGRAM_WITH_CUDA
  if (device == Device::kCuda) return static_cast<void>(cudaFree(memory));
  if (is_pinned) return static_cast<void>(cudaFreeHost(memory));
#endif
  std::free(memory);
}

Tensor Buffer::tensor(DType dtype, std::initializer_list<int64_t> shape) const {
  const Tensor result(memory_.get(), dtype, shape);
  ENGRAM_CHECK(result.num_bytes() <= num_bytes_, "buffer: tensor of ", result.num_bytes(), " bytes in a buffer of ",
               num_bytes_);
  return result;
}

Stream make_stream(Device device, [[maybe_unused]] int index, [[maybe_unused]] StreamPriority priority) {
  if (device == Device::kCpu) return CpuQueue{};
#if ENGRAM_WITH_CUDA
  ENGRAM_CUDA_CHECK(cudaSetDevice(index));
  CudaQueue queue;
  queue.resources.reset(new CudaResources(priority));
  queue.handle = queue.resources->stream;
  return queue;
#else
  ENGRAM_FAIL("device cuda:", index, " wanted, but this program was built without CUDA; build with the preset `cuda`");
#endif
}

#if ENGRAM_WITH_CUDA
void ReleaseCudaResources::operator()(CudaResources* resources) const { delete resources; }
#endif

bool built_with_cuda() {
#if ENGRAM_WITH_CUDA
  return true;
#else
  return false;
#endif
}

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

void set_deterministic(Stream& stream, bool deterministic) {
#if ENGRAM_WITH_CUDA
  if (auto* queue = std::get_if<CudaQueue>(&stream)) queue->resources->deterministic = deterministic;
#endif
  (void)stream, (void)deterministic;
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
    const OpProfile::Scope scope(*queue, "copy", std::source_location::current());
    ENGRAM_CUDA_CHECK(cudaMemcpyAsync(to.data, from.data, num_bytes, cudaMemcpyDefault, queue->handle));
    return;
  }
#endif
  const OpProfile::Scope scope(std::get<CpuQueue>(stream), "copy", std::source_location::current());
  std::memcpy(to.data, from.data, num_bytes);
}

void zero(Stream& stream, const Tensor& tensor) {
  const auto num_bytes = static_cast<size_t>(tensor.num_bytes());
  if (num_bytes == 0 || is_dry(stream)) return;
#if ENGRAM_WITH_CUDA
  if (auto* queue = std::get_if<CudaQueue>(&stream)) {
    const OpProfile::Scope scope(*queue, "zero", std::source_location::current());
    ENGRAM_CUDA_CHECK(cudaMemsetAsync(tensor.data, 0, num_bytes, queue->handle));
    return;
  }
#endif
  const OpProfile::Scope scope(std::get<CpuQueue>(stream), "zero", std::source_location::current());
  std::memset(tensor.data, 0, num_bytes);
}

}  // namespace engram
