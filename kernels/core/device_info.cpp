#include "kernels/core/device_info.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <regex>

#include "kernels/core/check.h"

#if ENGRAM_WITH_CUDA
#include <dlfcn.h>

#include "kernels/cuda/resources.cuh"
#endif

namespace engram {
namespace {

// The first match of the pattern's group in a file; "" where there is none.
std::string find_in_file(const char* path, const char* pattern) {
  std::ifstream file(path);
  const std::regex regex(pattern);
  std::smatch match;
  for (std::string line; std::getline(file, line);) {
    if (std::regex_search(line, match, regex)) return match[1];
  }
  return {};
}

DeviceInfo cpu_info() {
  DeviceInfo info;
  info.name = find_in_file("/proc/cpuinfo", "^model name\\s*: (.*)$");
  info.memory_bytes = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGE_SIZE);
  return info;
}

#if ENGRAM_WITH_CUDA
// 91002 is 9.10.2.
std::string version_text(int64_t version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

// A function of a library, where this process has loaded it.
template <class Function>
Function* loaded_function(const char* library, const char* name) {
  void* handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
  if (handle == nullptr) return nullptr;
  auto* function = reinterpret_cast<Function*>(dlsym(handle, name));
  dlclose(handle);  // it stays: the process holds it
  return function;
}

std::string cudnn_version() {
  auto* function = loaded_function<size_t()>("libcudnn.so.9", "cudnnGetVersion");
  return function == nullptr ? "" : version_text(static_cast<int64_t>(function()));
}

std::string nccl_version() {
  auto* function = loaded_function<int(int*)>("libnccl.so.2", "ncclGetVersion");
  int version = 0;
  return function == nullptr || function(&version) != 0 ? "" : version_text(version);
}

DeviceInfo cuda_info() {
  int device = 0, runtime = 0;
  ENGRAM_CUDA_CHECK(cudaGetDevice(&device));
  ENGRAM_CUDA_CHECK(cudaRuntimeGetVersion(&runtime));
  cudaDeviceProp properties{};
  ENGRAM_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  return {.name = properties.name,
          .driver = find_in_file("/proc/driver/nvidia/version", "Kernel Module.*? ([0-9]+[.][0-9.]+)"),
          .cuda = fmt::format("{}.{}", runtime / 1000, runtime % 1000 / 10),
          .cublas = version_text(static_cast<int64_t>(cublasLtGetVersion())),
          .cudnn = cudnn_version(),
          .nccl = nccl_version(),
          .memory_bytes = static_cast<int64_t>(properties.totalGlobalMem)};
}
#endif

}  // namespace

std::string host_name() {
  char name[256] = {};
  ENGRAM_CHECK(::gethostname(name, sizeof name - 1) == 0, "gethostname: ", std::strerror(errno));
  return name;
}

CardUuid card_uuid([[maybe_unused]] int index) {
  CardUuid uuid{};
#if ENGRAM_WITH_CUDA
  cudaDeviceProp properties{};
  ENGRAM_CUDA_CHECK(cudaGetDeviceProperties(&properties, index));
  std::memcpy(uuid.data(), properties.uuid.bytes, uuid.size());
#endif
  return uuid;
}

std::string to_string(const CardUuid& uuid) {
  std::string text = "GPU-";
  for (size_t i = 0; i < uuid.size(); ++i) {
    text += fmt::format("{}{:02x}", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
  }
  return text;
}

DeviceInfo device_info(const Stream& stream) {
#if ENGRAM_WITH_CUDA
  if (device_of(stream) == Device::kCuda) return cuda_info();
#endif
  (void)stream;
  return cpu_info();
}

int64_t memory_in_use(const Stream& stream) {
#if ENGRAM_WITH_CUDA
  if (device_of(stream) == Device::kCuda) {
    size_t free = 0, total = 0;
    ENGRAM_CUDA_CHECK(cudaMemGetInfo(&free, &total));
    return static_cast<int64_t>(total - free);
  }
#endif
  (void)stream;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

}  // namespace engram
