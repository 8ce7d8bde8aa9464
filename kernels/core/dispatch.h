#pragma once

#include <type_traits>

#include "kernels/core/check.h"
#include "kernels/core/dtype.h"
#include "kernels/core/op_profile.h"
#include "kernels/core/stream.h"

namespace engram {

// The element types for which an op has a twin on one backend.
template <class... Ts>
struct Cpu {};
template <class... Ts>
struct Cuda {};

namespace detail {

template <class Queue, class Fn, template <class...> class Backend, class... Ts>
bool call_with_type(Backend<Ts...>, [[maybe_unused]] DType dtype, [[maybe_unused]] Queue& queue,
                    [[maybe_unused]] Fn& fn) {  // unused where the list is empty
  return ((dtype == dtype_of<Ts> && (fn.template operator()<Ts>(queue), true)) || ...);
}

}  // namespace detail

// Calls fn.operator()<T>(queue) with the T of `dtype` and the queue inside `stream`. The two lists name every
// (backend, type) pair that is instantiated; any other pair throws Error. A dry stream does nothing. Where the stream
// has a profile, the op is timed under the name of the function that calls this.
//
//   dispatch<Cpu<float, double>, Cuda<bfloat16, float>>("rms_norm", stream, x.dtype,
//                                                        [&]<class T>(auto& queue) { run(queue, Args<T>{...}); });
template <class CpuTypes, class CudaTypes, class Fn>
void dispatch(const char* op, Stream& stream, DType dtype, Fn&& fn,
              const std::source_location& where = std::source_location::current()) {
  std::visit(
      [&](auto& queue) -> void {
        using Queue = std::remove_reference_t<decltype(queue)>;
        if constexpr (!std::is_same_v<Queue, DryQueue>) {
          constexpr bool on_cpu = std::is_same_v<Queue, CpuQueue>;
          using Types = std::conditional_t<on_cpu, CpuTypes, CudaTypes>;
          const OpProfile::Scope scope(queue, op, where);
          ENGRAM_CHECK(detail::call_with_type(Types{}, dtype, queue, fn), op, ": no ", on_cpu ? "CPU" : "CUDA",
                       " form for ", name_of(dtype));
        }
      },
      stream);
}

}  // namespace engram
