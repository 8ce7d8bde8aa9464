#pragma once

#include <cutlass/cutlass.h>

#include <cutlass/gemm/device/gemm_universal_adapter.h>
#include <cutlass/epilogue/collective/collective_builder.hpp>
#include <cutlass/gemm/collective/collective_builder.hpp>
#include <cutlass/gemm/group_array_problem_shape.hpp>
#include <cutlass/gemm/kernel/gemm_universal.hpp>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/resources.cuh"
#include "kernels/expert_matmul_cutlass.h"

// Grouped products of CUTLASS 3 for Hopper: tiles of all experts on a grid that stays, loads by the copy engine beside
// wgmma. What each expert multiplies is worked out on the device.
// Long because CUTLASS comes in many headers.
namespace engram {

// One product per expert, d[e] = a[e] b[e] (+ d[e]); sizes and addresses of a[e], b[e], d[e] follow from its rows.
// Where these are the inner size they may be cut at every multiple of `stretch`: what follows a cut is a product of its
// own with a result of its own.
struct ExpertProducts {
  // A factor or the result: where it begins, the elements from one row of an expert and from one expert to the next,
  // and its leading dimension.
  struct Matrix {
    const void* data;
    int64_t per_row;
    int64_t per_expert;
    int64_t stride;
  };
  struct Part {
    int64_t expert, begin, end;
    __device__ int64_t num_rows() const { return end - begin; }
  };
  static constexpr int kRows = -1;  // a size that is the expert's number of rows
  View<const int64_t, 1> offsets;
  Matrix a, b, d;
  int m, n, k;
  int64_t num_cuts = 0, stretch = 0;
  void* of_cuts = nullptr;  // [num_cuts] results

  __host__ __device__ int64_t num_experts() const { return offsets.size(0) - 1; }
  __host__ __device__ int64_t num_products() const { return num_experts() + num_cuts; }
  // Of product i: an expert's rows up to the first cut, or those that follow cut i - num_experts(), none where it cuts
  // no expert.
  __device__ Part part(int64_t i) const {
    if (num_cuts == 0) return {i, offsets(i), offsets(i + 1)};
    const int64_t cut = i - num_experts() + 1, expert = cut <= 0 ? i : expert_at(cut * stretch);
    if (expert == num_experts() || (cut > 0 && offsets(expert) >= cut * stretch)) return {0, 0, 0};
    const int64_t begin = cut <= 0 ? offsets(expert) : cut * stretch;
    return {expert, begin, min(offsets(expert + 1), (begin / stretch + 1) * stretch)};
  }

 private:
  // The first that ends after the row.
  __device__ int64_t expert_at(int64_t row) const {
    int64_t first = 0, last = num_experts();
    while (first < last) {
      const int64_t middle = (first + last) / 2;
      offsets(middle + 1) > row ? last = middle : first = middle + 1;
    }
    return first;
  }
};

// CUTLASS's main loop and epilogue for grouped products keep one descriptor of the copy engine per multiprocessor and
// matrix, and rewrite it whenever the next tile is another expert's, which with our many small experts is nearly every
// time, after waiting for all copies under way. These two take descriptors that were written beforehand, one per
// expert.
template <class Base>
struct ExpertMainloop : Base {
  using typename Base::Arguments, typename Base::Params, typename Base::TensorMapStorage;
  static constexpr int kDescriptors = 2;

  template <class ProblemShape>
  static size_t get_workspace_size(const ProblemShape& shape, const Arguments& arguments, int) {
    return Base::get_workspace_size(shape, arguments, shape.groups());
  }
  CUTLASS_DEVICE auto tensormaps_init(const Params& params, TensorMapStorage&, int32_t, int32_t) {
    const auto* first = static_cast<const cute::TmaDescriptor*>(params.tensormaps);
    return cute::make_tuple(first, first + 1);
  }
  template <class Descriptors, class Shape>
  CUTLASS_DEVICE void tensormaps_perform_update(TensorMapStorage&, const Params&, const Descriptors&, Shape,
                                                int32_t next) {
    expert_ = next;
  }
  template <class Descriptors>
  CUTLASS_DEVICE void tensormaps_cp_fence_release(TensorMapStorage&, const Descriptors&) {}
  template <class Descriptors>
  CUTLASS_DEVICE void tensormaps_fence_acquire(const Descriptors& first) {
    Base::tensormaps_fence_acquire(of_expert(first));
  }
  template <class... Args>
  CUTLASS_DEVICE void load(Args&&... args) {
    Base::load(of_expert(args)...);
  }

 private:
  // The descriptors of the expert whose tiles are next where those of the first are given; else what is given.
  template <class Arg>
  CUTLASS_DEVICE decltype(auto) of_expert(Arg& arg) const {
    using Descriptors = cute::tuple<const cute::TmaDescriptor*, const cute::TmaDescriptor*>;
    if constexpr (std::is_same_v<std::remove_const_t<Arg>, Descriptors>) {
      const int32_t skipped = kDescriptors * expert_;
      return Descriptors(cute::get<0>(arg) + skipped, cute::get<1>(arg) + skipped);
    } else {
      return (arg);
    }
  }
  int32_t expert_ = 0;
};

template <class Base>
struct ExpertEpilogue : Base {
  using Base::Base;
  using typename Base::Arguments, typename Base::Params, typename Base::TensorMapStorage;
  using Descriptor = cute::TmaDescriptor;
  static constexpr int kOfC = Base::NumEpilogueWarpGroups;  // those of D come first
  static constexpr int kDescriptors = kOfC + (cute::is_void_v<typename Base::ElementC> ? 0 : 1);

  template <class ProblemShape>
  static size_t get_workspace_size(const ProblemShape& shape, const Arguments& arguments, int) {
    return Base::get_workspace_size(shape, arguments, shape.groups());
  }
  CUTLASS_DEVICE auto load_init(const Params& params, TensorMapStorage&, int32_t, int32_t) {
    return cute::make_tuple(static_cast<const Descriptor*>(params.tensormaps + kOfC));
  }
  CUTLASS_DEVICE auto store_init(const Params& params, TensorMapStorage&, int32_t, int32_t, int32_t) {
    return cute::make_tuple(static_cast<const Descriptor*>(params.tensormaps));
  }
  template <bool kLoad, class Shape>
  CUTLASS_DEVICE void tensormaps_perform_update(TensorMapStorage&, const Params&, const Descriptor*, Shape,
                                                int32_t next, int32_t) {
    // Long because CUTLASS's kernel calls it.
    expert_ = next;
  }
  template <bool kLoad>
  CUTLASS_DEVICE void tensormaps_cp_fence_release(TensorMapStorage&, const Descriptor*, int32_t = 0) {}
  template <bool kLoad>
  CUTLASS_DEVICE void tensormaps_fence_acquire(const Descriptor* first) {
    Base::template tensormaps_fence_acquire<kLoad>(of_expert(first));
  }
  template <class... Args>
  CUTLASS_DEVICE auto load(Args&&... args) {
    return Base::load(of_expert(args)...);
  }
  template <class... Args>
  CUTLASS_DEVICE auto store(Args&&... args) {
    return Base::store(of_expert(args)...);
  }

 private:
  // As in ExpertMainloop.
  template <class Arg>
  CUTLASS_DEVICE decltype(auto) of_expert(Arg& arg) const {
    if constexpr (std::is_same_v<std::remove_const_t<Arg>, const Descriptor*>) {
      return arg + kDescriptors * expert_;
    } else {
      return (arg);
    }
  }
  int32_t expert_ = 0;
};

// D is bfloat16, written, or float, added to. Tiles of 128 x kColumns, two in work at a time: one is multiplied while
// the other is written (ping-pong). Larger ones, halved among the warps of a block, were 5 to 25 % slower on an H200.
template <class LayoutA, class LayoutB, class D, int kColumns>
struct ExpertGemm {
  using RowMajor = cutlass::layout::RowMajor;
  using Factor = cutlass::bfloat16_t;
  using Shape = cutlass::gemm::GroupProblemShape<cute::Shape<int, int, int>>;
  using Tile = cute::Shape<cute::Int<128>, cute::Int<kColumns>, cute::Int<64>>;
  using Cluster = cute::Shape<cute::Int<1>, cute::Int<1>, cute::Int<1>>;
  static constexpr bool kAdd = std::is_same_v<D, float>;
  static constexpr int kAlignment = 16 / sizeof(Factor), kAlignmentD = 16 / sizeof(D);
  using BaseEpilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
      cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Tile, Cluster,
      cutlass::epilogue::collective::EpilogueTileAuto, float, float, cute::conditional_t<kAdd, D, void>, RowMajor*,
      kAlignmentD, D, RowMajor*, kAlignmentD, cutlass::epilogue::PtrArrayTmaWarpSpecializedPingpong>::CollectiveOp;
  using BaseMainloop = typename cutlass::gemm::collective::CollectiveBuilder<
      cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Factor, LayoutA*, kAlignment, Factor, LayoutB*, kAlignment,
      float, Tile, Cluster,
      cutlass::gemm::collective::StageCountAutoCarveout<static_cast<int>(sizeof(typename BaseEpilogue::SharedStorage))>,
      cutlass::gemm::KernelPtrArrayTmaWarpSpecializedPingpong>::CollectiveOp;
  using Epilogue = ExpertEpilogue<BaseEpilogue>;
  using Mainloop = ExpertMainloop<BaseMainloop>;
  using Kernel = cutlass::gemm::kernel::GemmUniversal<Shape, Mainloop, Epilogue>;
  using Device = cutlass::gemm::device::GemmUniversalAdapter<Kernel>;

  // Of every expert; arrays in device memory.
  struct Experts {
    typename Shape::UnderlyingProblemShape* shape;
    const Factor** a;
    const Factor** b;
    D** d;
    typename Kernel::InternalStrideA* stride_a;
    typename Kernel::InternalStrideB* stride_b;
    typename Kernel::InternalStrideD* stride_d;
  };
};

template <class Stride>
__device__ Stride expert_stride(int64_t leading) {
  Stride stride{};
  if constexpr (cute::is_static_v<decltype(cute::get<0>(Stride{}))>) {
    cute::get<1>(stride) = leading;
  } else {
    cute::get<0>(stride) = leading;
  }
  return stride;
}

// Sizes and addresses of product i, written by one thread at its place among the products.
template <class Gemm>
__device__ void describe_product(const ExpertProducts& products, const typename Gemm::Experts& experts, int64_t i,
                                 int64_t place) {
  const ExpertProducts::Part part = products.part(i);
  const int64_t num_rows = part.num_rows();
  const auto at = [&](const auto* type, const ExpertProducts::Matrix& matrix) {
    return static_cast<decltype(type)>(matrix.data) + part.begin * matrix.per_row + part.expert * matrix.per_expert;
  };
  const auto size = [&](int given) { return given == ExpertProducts::kRows ? static_cast<int>(num_rows) : given; };
  // No tiles without rows: an inner size of 0 is none that the copy engine could describe.
  experts.shape[place] = {num_rows == 0 ? 0 : size(products.m), products.n, size(products.k)};
  experts.a[place] = at(static_cast<const typename Gemm::Factor*>(nullptr), products.a);
  experts.b[place] = at(static_cast<const typename Gemm::Factor*>(nullptr), products.b);
  using D = std::remove_pointer_t<std::remove_pointer_t<decltype(experts.d)>>;
  const int64_t cut = i - products.num_experts();
  experts.d[place] = cut < 0 ? const_cast<D*>(at(static_cast<const D*>(nullptr), products.d))
                             : static_cast<D*>(products.of_cuts) + cut * products.d.per_expert;
  experts.stride_a[place] = expert_stride<typename Gemm::Kernel::InternalStrideA>(products.a.stride);
  experts.stride_b[place] = expert_stride<typename Gemm::Kernel::InternalStrideB>(products.b.stride);
  experts.stride_d[place] = expert_stride<typename Gemm::Kernel::InternalStrideD>(products.d.stride);
}

// The descriptors that ExpertMainloop and ExpertEpilogue take, of the product at a place; by one warp.
template <class Gemm>
__device__ void write_descriptors(const typename Gemm::Kernel::Params& params, int place) {
  using Mainloop = typename Gemm::BaseMainloop;
  using Epilogue = typename Gemm::BaseEpilogue;
  __shared__ typename Mainloop::TensorMapStorage of_factors;
  __shared__ typename Epilogue::TensorMapStorage of_result;
  const auto shape = cute::append<4>(params.problem_shape.get_problem_shape(place), 1);

  Mainloop mainloop;
  const auto factors = mainloop.tensormaps_init(params.mainloop, of_factors, 1, Gemm::Mainloop::kDescriptors * place);
  mainloop.tensormaps_perform_update(of_factors, params.mainloop, factors, shape, place);
  __syncwarp();
  mainloop.tensormaps_cp_fence_release(of_factors, factors);

  // The epilogue wants to hear of memory for tiles, which it does not touch here.
  Epilogue epilogue(params.epilogue, reinterpret_cast<typename Epilogue::TensorStorage&>(of_result));
  const auto write = [&](auto is_load, int which) {
    constexpr bool kLoad = decltype(is_load)::value;
    const int first = Gemm::Epilogue::kDescriptors * place;
    epilogue.template tensormaps_init<kLoad>(params.epilogue, of_result, 1, first, 0);
    cute::TmaDescriptor* descriptor = params.epilogue.tensormaps + first + which;
    epilogue.template tensormaps_perform_update<kLoad>(of_result, params.epilogue, descriptor, shape, place, 0);
    __syncwarp();
    epilogue.template tensormaps_cp_fence_release<kLoad>(of_result, descriptor, 0);
  };
  write(std::false_type{}, 0);
  if constexpr (Gemm::kAdd) write(std::true_type{}, Gemm::Epilogue::kOfC);
}

// Writes what CUTLASS needs to know of each product: one block each, of one warp. Where the inner size is ragged the
// products with most rows come first, so that no multiprocessor begins a long tile when the others are done.
template <class Gemm>
__global__ void __launch_bounds__(kWarpSize)
    describe_experts_kernel(ExpertProducts products, typename Gemm::Experts experts,
                            const __grid_constant__ typename Gemm::Kernel::Params params) {
  const int64_t i = blockIdx.x, num_rows = products.part(i).num_rows();
  int64_t place = i;
  if (products.k == ExpertProducts::kRows) {
    int num_before = 0;
    for (int64_t other = threadIdx.x; other < products.num_products(); other += kWarpSize) {
      const int64_t others_rows = products.part(other).num_rows();
      num_before += others_rows > num_rows || (others_rows == num_rows && other < i);
    }
    place = warp_sum(num_before);
  }
  if (threadIdx.x == 0) describe_product<Gemm>(products, experts, i, place);
  __syncwarp();
  if (num_rows > 0) write_descriptors<Gemm>(params, static_cast<int>(place));
}

// Puts the products on the queue. Rows that no expert has are neither read into a sum nor written. `used` bytes of the
// scratch memory are taken.
template <class Gemm>
void multiply_experts(CudaQueue& queue, const ExpertProducts& products, int64_t used) {
  const int64_t num_products = products.num_products();
  const auto take = [&]<class T>(T*& array) { array = scratch<T>(queue, num_products, used); };
  typename Gemm::Experts experts{};
  take(experts.shape), take(experts.a), take(experts.b), take(experts.d);
  take(experts.stride_a), take(experts.stride_b), take(experts.stride_d);
  typename Gemm::Device::Arguments arguments{};
  arguments.mode = cutlass::gemm::GemmUniversalMode::kGrouped;
  arguments.problem_shape = {static_cast<int>(num_products), experts.shape, nullptr};
  arguments.mainloop = {experts.a, experts.stride_a, experts.b, experts.stride_b};
  arguments.epilogue.thread.alpha = 1;
  if constexpr (Gemm::kAdd) {
    arguments.epilogue.thread.beta = 1;
    arguments.epilogue.ptr_C = const_cast<const float**>(experts.d);
    arguments.epilogue.dC = experts.stride_d;
  }
  arguments.epilogue.ptr_D = experts.d;
  arguments.epilogue.dD = experts.stride_d;
  arguments.hw_info.device_id = queue.resources->device;
  arguments.hw_info.sm_count = queue.resources->num_multiprocessors;
  // Tiles follow each other along the side that is faster, as measured.
  using Order = typename Gemm::Kernel::TileScheduler::RasterOrderOptions;
  arguments.scheduler.raster_order = products.k == ExpertProducts::kRows ? Order::AlongM : Order::AlongN;
  const auto num_bytes = static_cast<int64_t>(Gemm::Device::get_workspace_size(arguments));
  typename Gemm::Device gemm;
  const auto check = [&](cutlass::Status status) {
    ENGRAM_CHECK(status == cutlass::Status::kSuccess, "expert_matmul: CUTLASS refuses ", num_products,
                 " products: ", cutlass::cutlassGetStatusString(status));
  };
  check(gemm.initialize(arguments, scratch<char>(queue, num_bytes, used), queue.handle));
  describe_experts_kernel<Gemm>
      <<<blocks_for(num_products, 1), kWarpSize, 0, queue.handle>>>(products, experts, gemm.params());
  ENGRAM_CUDA_CHECK(cudaGetLastError());
  check(gemm.run(queue.handle));
}

template <template <int> class Gemm>
void multiply_experts(CudaQueue& queue, ExpertTiles tiles, const ExpertProducts& products, int64_t used = 0) {
  tiles == ExpertTiles::kWide ? multiply_experts<Gemm<192>>(queue, products, used)
                              : multiply_experts<Gemm<128>>(queue, products, used);
}

}  // namespace engram
