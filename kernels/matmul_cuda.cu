#include <algorithm>
#include <cstdint>

#include "kernels/cuda/resources.cuh"
#include "kernels/matmul_impl.h"

namespace engram {
namespace {

// clang-format off
template <class T> struct CublasTypeOf;
template <> struct CublasTypeOf<bfloat16> { static constexpr cudaDataType_t value = CUDA_R_16BF; };
template <> struct CublasTypeOf<float> { static constexpr cudaDataType_t value = CUDA_R_32F; };
template <> struct CublasTypeOf<double> { static constexpr cudaDataType_t value = CUDA_R_64F; };
// clang-format on

// Largest power of two, at most 256, that divides the address.
uint32_t alignment_of(const void* data) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  return static_cast<uint32_t>(std::min<uintptr_t>(address & (~address + 1), 256));
}

// A matrix as cuBLAS sees it, column after column: the transpose of our row-major one, in the same memory.
struct Layout {
  Layout(cudaDataType_t type, int64_t row_major_rows, int64_t row_major_columns) {
    ENGRAM_CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&handle, type, static_cast<uint64_t>(row_major_columns),
                                                   static_cast<uint64_t>(row_major_rows), row_major_columns));
  }
  ~Layout() { cublasLtMatrixLayoutDestroy(handle); }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  cublasLtMatrixLayout_t handle = nullptr;
};

// The product c^T = op(b)^T op(a)^T: row-major c = op(a) op(b) seen column after column. The first factor is therefore
// b and the second a, each as stored transposed already, so that the flags stay as they are.
template <class T, class Out>
struct Product {
  explicit Product(const Matmul<T, Out>& args)
      : first(CublasTypeOf<T>::value, args.b.size(0), args.b.size(1)),
        second(CublasTypeOf<T>::value, args.a.size(0), args.a.size(1)),
        result(CublasTypeOf<Out>::value, args.c.size(0), args.c.size(1)) {
    constexpr bool wide = std::is_same_v<T, double>;
    // CUBLAS_COMPUTE_32F keeps float products exact to float: TF32 has a name of its own.
    ENGRAM_CUBLAS_CHECK(cublasLtMatmulDescCreate(&handle, wide ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                                                 CublasTypeOf<Accumulator<T>>::value));
    const cublasOperation_t of_first = args.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t of_second = args.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    ENGRAM_CUBLAS_CHECK(
        cublasLtMatmulDescSetAttribute(handle, CUBLASLT_MATMUL_DESC_TRANSA, &of_first, sizeof(of_first)));
    ENGRAM_CUBLAS_CHECK(
        cublasLtMatmulDescSetAttribute(handle, CUBLASLT_MATMUL_DESC_TRANSB, &of_second, sizeof(of_second)));
  }
  ~Product() { cublasLtMatmulDescDestroy(handle); }
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;

  cublasLtMatmulDesc_t handle = nullptr;
  Layout first, second, result;
};

// A result this large takes several tiles of every multiprocessor.
constexpr int64_t kManyElements = int64_t{1} << 24;

// Whether the algorithm writes one tile while it multiplies the next, as those do whose tiles have 18 to 22 thousand
// elements and whose inner size is not split. cuBLAS 13 ranks larger tiles first, which wait for their last write.
bool overlaps_tiles(const cublasLtMatmulAlgo_t& algorithm) {
  uint32_t tile = 0, num_splits = 0;
  const auto read = [&](cublasLtMatmulAlgoConfigAttributes_t attribute, auto& value) {
    size_t num_bytes = 0;
    ENGRAM_CUBLAS_CHECK(cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof(value), &num_bytes));
  };
  read(CUBLASLT_ALGO_CONFIG_TILE_ID, tile);
  read(CUBLASLT_ALGO_CONFIG_SPLITK_NUM, num_splits);
  return num_splits <= 1 && (tile == CUBLASLT_MATMUL_TILE_128x160 || tile == CUBLASLT_MATMUL_TILE_144x128 ||
                             tile == CUBLASLT_MATMUL_TILE_168x128 || tile == CUBLASLT_MATMUL_TILE_176x128);
}

// cuBLAS's first proposal, but for large results in bfloat16 the first whose tiles overlap: 8 to 20 % faster on an
// H200. Choosing by time would do little better, and not the same on every run.
template <class T, class Out>
cublasLtMatmulAlgo_t choose_algorithm(CudaQueue& queue, const Matmul<T, Out>& args, const Product<T, Out>& product) {
  cublasLtMatmulPreference_t preference = nullptr;
  ENGRAM_CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&preference));
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    ENGRAM_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)));
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{CudaResources::kWorkspaceBytes});
  // Parts of a split sum are added in the type of accumulation, in order.
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(args.b.data));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(args.a.data));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(args.c.data));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(args.c.data));
  std::array<cublasLtMatmulHeuristicResult_t, 16> found{};
  int num_found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      queue.resources->cublas, product.handle, product.first.handle, product.second.handle, product.result.handle,
      product.result.handle, preference, static_cast<int>(found.size()), found.data(), &num_found);
  cublasLtMatmulPreferenceDestroy(preference);
  ENGRAM_CHECK(status == CUBLAS_STATUS_SUCCESS && num_found > 0, "matmul: cuBLAS has no algorithm for [",
               args.c.size(0), ", ", args.c.size(1), "] with an inner size of ", args.a.size(args.transpose_a ? 0 : 1),
               ": ", cublasLtGetStatusName(status));
  if (std::is_same_v<Out, bfloat16> && args.c.numel() >= kManyElements) {
    for (int i = 0; i < num_found; ++i) {
      if (overlaps_tiles(found[static_cast<size_t>(i)].algo)) return found[static_cast<size_t>(i)].algo;
    }
  }
  return found[0].algo;
}

template <class T, class Out>
const cublasLtMatmulAlgo_t& algorithm_for(CudaQueue& queue, const Matmul<T, Out>& args,
                                          const Product<T, Out>& product) {
  const std::array<int64_t, 10> key = {args.c.size(0),
                                       args.c.size(1),
                                       args.a.size(args.transpose_a ? 0 : 1),
                                       args.transpose_a,
                                       args.transpose_b,
                                       CublasTypeOf<T>::value,
                                       CublasTypeOf<Out>::value,
                                       alignment_of(args.a.data),
                                       alignment_of(args.b.data),
                                       alignment_of(args.c.data)};
  auto& known = queue.resources->matmul_algorithms;
  auto entry = known.find(key);
  if (entry == known.end()) entry = known.emplace(key, choose_algorithm(queue, args, product)).first;
  return entry->second;
}

}  // namespace

template <class T, class Out>
void run(CudaQueue& queue, const Matmul<T, Out>& args) {
  if (args.c.numel() == 0) return;
  if (args.a.numel() == 0) {  // nothing to add up
    if (args.accumulate) return;
    const auto num_bytes = static_cast<size_t>(args.c.numel()) * sizeof(Out);
    ENGRAM_CUDA_CHECK(cudaMemsetAsync(args.c.data, 0, num_bytes, queue.handle));
    return;
  }
  const Product<T, Out> product(args);
  const cublasLtMatmulAlgo_t& algorithm = algorithm_for(queue, args, product);
  const Accumulator<T> alpha = 1, beta = args.accumulate ? 1 : 0;
  ENGRAM_CUBLAS_CHECK(cublasLtMatmul(queue.resources->cublas, product.handle, &alpha, args.b.data, product.first.handle,
                                     args.a.data, product.second.handle, &beta, args.c.data, product.result.handle,
                                     args.c.data, product.result.handle, &algorithm, queue.resources->workspace.data(),
                                     CudaResources::kWorkspaceBytes, queue.handle));
}

template void run(CudaQueue&, const Matmul<bfloat16, bfloat16>&);
template void run(CudaQueue&, const Matmul<bfloat16, float>&);
template void run(CudaQueue&, const Matmul<float, float>&);
template void run(CudaQueue&, const Matmul<double, double>&);

}  // namespace engram
