// A library for CUDA_INJECTION64_PATH that writes what a program does on its GPU, and where its threads wait for the
// GPU or give it memory: a line each to the file ENGRAM_TRACE, a dot and the MPI rank, fields between tabs:
//
//   kernel  begin end stream name
//   copy    begin end stream "pinned to device", ..
//   zero    begin end stream -
//   wait    begin end stream EventSynchronize, StreamSynchronize or ContextSynchronize
//   call    begin end thread name: memory is taken or freed, or copied by a call that is not asynchronous
//
// Times are nanoseconds of one clock, those of waits and calls the host's. scripts/step_timeline.py reads it.
#include <cupti.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <string_view>

namespace {

constexpr size_t kBufferBytes = size_t{8} << 20;

std::mutex mutex;
std::FILE* file = nullptr;

void check(CUptiResult result, const char* call) {
  if (result == CUPTI_SUCCESS) return;
  const char* text = "";
  cuptiGetResultString(result, &text);
  std::fprintf(stderr, "cuda_trace: %s: %s\n", call, text);
  std::_Exit(1);
}

template <class Record>
void write(const char* kind, const Record& record, uint32_t where, std::string_view name) {
  std::fprintf(file, "%s\t%llu\t%llu\t%u\t%.*s\n", kind, static_cast<unsigned long long>(record.start),
               static_cast<unsigned long long>(record.end), where, static_cast<int>(name.size()), name.data());
}

const char* memory_name(uint8_t kind) {
  if (kind == CUPTI_ACTIVITY_MEMORY_KIND_PINNED) return "pinned";
  return kind == CUPTI_ACTIVITY_MEMORY_KIND_PAGEABLE ? "pageable" : "device";
}

const char* wait_name(CUpti_ActivitySynchronizationType type) {
  if (type == CUPTI_ACTIVITY_SYNCHRONIZATION_TYPE_EVENT_SYNCHRONIZE) return "EventSynchronize";
  return type == CUPTI_ACTIVITY_SYNCHRONIZATION_TYPE_STREAM_SYNCHRONIZE ? "StreamSynchronize" : "ContextSynchronize";
}

// Calls that wait for the device although they are not named so.
bool may_wait(std::string_view call) {
  const bool is_copy = call.find("Memcpy") != call.npos && call.find("Async") == call.npos;
  return is_copy || call.find("MemAlloc") != call.npos || call.find("Malloc") != call.npos ||
         call.find("Free") != call.npos || call.find("HostAlloc") != call.npos;
}

void write_call(const CUpti_ActivityAPI& record) {
  const bool is_driver = record.kind == CUPTI_ACTIVITY_KIND_DRIVER;
  const char* name = nullptr;
  if (cuptiGetCallbackName(is_driver ? CUPTI_CB_DOMAIN_DRIVER_API : CUPTI_CB_DOMAIN_RUNTIME_API, record.cbid, &name) ==
          CUPTI_SUCCESS &&
      may_wait(name)) {
    write("call", record, record.threadId, name);
  }
}

void write_copy(const CUpti_ActivityMemcpy5& record) {
  write("copy", record, record.streamId,
        std::string(memory_name(record.srcKind)) + " to " + memory_name(record.dstKind));
}

// Records in their forms of CUDA 12, with which those of later versions begin.
void write(const CUpti_Activity& any) {
  switch (any.kind) {
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: {
      const auto& record = reinterpret_cast<const CUpti_ActivityKernel9&>(any);
      return write("kernel", record, record.streamId, record.name);
    }
    case CUPTI_ACTIVITY_KIND_MEMCPY:
      return write_copy(reinterpret_cast<const CUpti_ActivityMemcpy5&>(any));
    case CUPTI_ACTIVITY_KIND_MEMSET: {
      const auto& record = reinterpret_cast<const CUpti_ActivityMemset4&>(any);
      return write("zero", record, record.streamId, "-");
    }
    case CUPTI_ACTIVITY_KIND_SYNCHRONIZATION: {
      const auto& record = reinterpret_cast<const CUpti_ActivitySynchronization&>(any);
      if (record.type == CUPTI_ACTIVITY_SYNCHRONIZATION_TYPE_STREAM_WAIT_EVENT) return;  // the host goes on
      return write("wait", record, record.streamId, wait_name(record.type));
    }
    default:
      return write_call(reinterpret_cast<const CUpti_ActivityAPI&>(any));
  }
}

void CUPTIAPI give_buffer(uint8_t** buffer, size_t* num_bytes, size_t* most_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *num_bytes = kBufferBytes;
  *most_records = 0;  // as many as fit
}

void CUPTIAPI take_buffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t num_valid_bytes) {
  const std::lock_guard lock(mutex);
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, num_valid_bytes, &record) == CUPTI_SUCCESS) write(*record);
  std::free(buffer);
}

void finish() {
  cuptiActivityFlushAll(1);
  const std::lock_guard lock(mutex);
  std::fflush(file);
}

}  // namespace

extern "C" int InitializeInjection() {
  const char* path = std::getenv("ENGRAM_TRACE");
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  if (path == nullptr) return 1;
  file = std::fopen((std::string(path) + "." + (rank == nullptr ? "0" : rank)).c_str(), "w");
  if (file == nullptr) {
    std::perror(path);
    std::_Exit(1);
  }
  check(cuptiActivityRegisterCallbacks(give_buffer, take_buffer), "cuptiActivityRegisterCallbacks");
  for (const CUpti_ActivityKind kind :
       {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_MEMSET,
        CUPTI_ACTIVITY_KIND_SYNCHRONIZATION, CUPTI_ACTIVITY_KIND_RUNTIME, CUPTI_ACTIVITY_KIND_DRIVER}) {
    check(cuptiActivityEnable(kind), "cuptiActivityEnable");
  }
  std::atexit(finish);
  return 1;
}
