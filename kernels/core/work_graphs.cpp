#include "kernels/core/work_graphs.h"

#if ENGRAM_WITH_CUDA
#include "kernels/cuda/check.cuh"
#endif

namespace engram {

#if ENGRAM_WITH_CUDA
namespace {

// The work of body() as a graph; none of it runs.
cudaGraph_t record(const CudaQueue& queue, const std::function<void()>& body) {
  ENGRAM_CUDA_CHECK(cudaStreamBeginCapture(queue.handle, cudaStreamCaptureModeThreadLocal));
  cudaGraph_t graph = nullptr;
  try {
    body();
  } catch (...) {
    cudaStreamEndCapture(queue.handle, &graph);
    cudaGraphDestroy(graph);
    cudaGetLastError();  // or the next check of a launch would find it
    throw;
  }
  ENGRAM_CUDA_CHECK(cudaStreamEndCapture(queue.handle, &graph));
  return graph;
}

cudaGraphExec_t instantiate(cudaGraph_t graph) {
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  ENGRAM_CUDA_CHECK(status);
  return executable;
}

}  // namespace

void WorkGraphs::Release::operator()(CUgraphExec_st* graph) const { cudaGraphExecDestroy(graph); }

void WorkGraphs::run(Stream& stream, const Key& key, const std::function<void()>& body) {
  const auto* queue = std::get_if<CudaQueue>(&stream);
  if (queue == nullptr || queue->profile != nullptr) return body();
  if (std::ssize(graphs_) >= max_keys_ && !graphs_.contains(key)) graphs_.clear();
  const auto [place, is_new] = graphs_.try_emplace(key);
  if (is_new) return body();
  if (!place->second) {
    try {
      place->second.reset(instantiate(record(*queue, body)));
    } catch (const Unavailable& error) {
      throw Unavailable(error.what() + std::string("; a CUDA graph was being made: train.graphs: false needs none"));
    }
  }
  ENGRAM_CUDA_CHECK(cudaGraphLaunch(place->second.get(), queue->handle));
  ++num_launched_;
}

#else

void WorkGraphs::Release::operator()(CUgraphExec_st*) const {}
void WorkGraphs::run(Stream&, const Key&, const std::function<void()>& body) { body(); }

#endif

}  // namespace engram
