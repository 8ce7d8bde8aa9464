#define CUDNN_FRONTEND_SKIP_JSON_LIB  // graphs are never written out, and half of the build time is theirs
#include <cudnn_frontend.h>

#include <algorithm>
#include <cmath>

#include "kernels/cuda/attention_cudnn.cuh"
#include "kernels/cuda/resources.cuh"

// Throws Error with cuDNN's own words unless the call succeeded.
#define ENGRAM_CUDNN_CHECK(call)                                                                                   \
  do {                                                                                                             \
    const cudnnStatus_t engram_status = (call);                                                                    \
    ENGRAM_CHECK(engram_status == CUDNN_STATUS_SUCCESS, #call, ": cuDNN status ", static_cast<int>(engram_status), \
                 ", ", cudnnGetErrorString(engram_status));                                                        \
  } while (false)

namespace engram {
namespace {

namespace fe = cudnn_frontend;
using TensorPointer = std::shared_ptr<fe::graph::Tensor_attributes>;

// Versions before have faulty cases. Those below kAnyLength read past the keys in backward where their number is not a
// multiple of kKeyTile.
constexpr size_t kOldestVersion = 91100, kAnyLength = 91501;
constexpr int64_t kKeyTile = 128;

enum Uid : int64_t { kQ = 1, kK, kV, kOut, kLse, kDout, kDq, kDk, kDv };

// What a graph depends on: sizes, and the strides of every array of heads in the order of Uid.
using Key = std::array<int64_t, 12>;

struct Plan {
  fe::graph::Graph graph;
  int64_t num_bytes = 0;  // of its workspace
  bool works = false;     // cuDNN has a kernel for it
};

// Handle, graphs and workspace of one stream.
struct Cudnn {
  explicit Cudnn(cudaStream_t stream) {
    ENGRAM_CUDNN_CHECK(cudnnCreate(&handle));
    ENGRAM_CUDNN_CHECK(cudnnSetStream(handle, stream));
  }
  ~Cudnn() { cudnnDestroy(handle); }
  Cudnn(const Cudnn&) = delete;
  Cudnn& operator=(const Cudnn&) = delete;

  cudnnHandle_t handle = nullptr;
  std::map<Key, Plan> plans;
  Buffer workspace;
};

Cudnn& cudnn_of(CudaQueue& queue) {
  auto& owner = queue.resources->cudnn;
  if (owner == nullptr) owner = std::make_shared<Cudnn>(queue.handle);
  return *static_cast<Cudnn*>(owner.get());
}

// Whether cuDNN takes heads of this layout.
template <class... T>
bool fit(const Heads<T>&... heads) {
  const auto aligned = [](const auto& x) { return reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.stride % 8 == 0; };
  return ((aligned(heads) && heads.size(3) % 8 == 0 && heads.size(3) <= 128) && ...);
}

bool may_use(const CudaQueue& queue, int64_t seq) {
  const size_t version = cudnnGetVersion();
  return queue.resources->use_library_kernels && seq > 1 && version >= kOldestVersion &&
         (version >= kAnyLength || seq % kKeyTile == 0);
}

template <class Args>
Key key_of(const Args& a, int64_t batch, std::initializer_list<int64_t> strides) {
  Key key = {batch, a.q.size(1), a.q.size(2), a.k.size(2), a.q.size(3)};
  std::copy(strides.begin(), strides.end(), key.begin() + 5);
  return key;
}

// cuDNN's order of axes is [batch, heads, seq, dim].
template <class T>
fe::graph::Tensor_attributes tensor_of(Uid uid, const Heads<T>& x, int64_t batch) {
  return fe::graph::Tensor_attributes()
      .set_uid(uid)
      .set_data_type(fe::DataType_t::BFLOAT16)
      .set_dim({batch, x.size(2), x.size(1), x.size(3)})
      .set_stride({x.size(1) * x.stride, x.size(3), x.stride, 1});
}

template <class T>
fe::graph::Tensor_attributes tensor_of(Uid uid, const View<T, 3>& lse, int64_t batch) {
  const int64_t heads = lse.size(1), seq = lse.size(2);
  return fe::graph::Tensor_attributes()
      .set_uid(uid)
      .set_data_type(fe::DataType_t::FLOAT)
      .set_dim({batch, heads, seq, 1})
      .set_stride({heads * seq, seq, 1, 1});
}

void set_output(const TensorPointer& output, const fe::graph::Tensor_attributes& like) {
  output->set_output(true)
      .set_uid(like.get_uid())
      .set_data_type(like.get_data_type())
      .set_dim(like.get_dim())
      .set_stride(like.get_stride());
}

template <class Options>
Options causal(const char* name, int64_t dim) {
  return Options()
      .set_name(name)
      .set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
      .set_diagonal_band_right_bound(0)
      .set_attn_scale(1 / std::sqrt(static_cast<float>(dim)));
}

void build(Cudnn& cudnn, Plan& plan) {
  plan.works = plan.graph.build(cudnn.handle, {fe::HeurMode_t::A}).is_good() &&
               plan.graph.get_workspace_size(plan.num_bytes).is_good();
}

fe::graph::Graph new_graph() {
  fe::graph::Graph graph;
  graph.set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  return graph;
}

Plan& forward_plan(Cudnn& cudnn, const AttentionForward<bfloat16>& a, int64_t batch) {
  const auto [place, is_new] =
      cudnn.plans.try_emplace(key_of(a, batch, {a.q.stride, a.k.stride, a.v.stride, a.out.stride}));
  Plan& plan = place->second;
  if (!is_new) return plan;
  plan.graph = new_graph();
  const auto [out, lse] =
      plan.graph.sdpa(plan.graph.tensor(tensor_of(kQ, a.q, batch)), plan.graph.tensor(tensor_of(kK, a.k, batch)),
                      plan.graph.tensor(tensor_of(kV, a.v, batch)),
                      causal<fe::graph::SDPA_attributes>("attention", a.q.size(3)).set_generate_stats(true));
  set_output(out, tensor_of(kOut, a.out, batch));
  set_output(lse, tensor_of(kLse, a.lse, batch));
  build(cudnn, plan);
  return plan;
}

Plan& backward_plan(Cudnn& cudnn, const AttentionBackward<bfloat16>& a, int64_t batch, bool deterministic) {
  const auto [place, is_new] = cudnn.plans.try_emplace(key_of(
      a, batch, {a.q.stride, a.k.stride, a.v.stride, a.dq.stride, a.dk.stride, a.dv.stride, deterministic ? 1 : 2}));
  Plan& plan = place->second;
  if (!is_new) return plan;
  plan.graph = new_graph();
  const auto input = [&](Uid uid, const auto& x) { return plan.graph.tensor(tensor_of(uid, x, batch)); };
  const auto [dq, dk, dv] = plan.graph.sdpa_backward(
      input(kQ, a.q), input(kK, a.k), input(kV, a.v), input(kOut, a.out), input(kDout, a.dout), input(kLse, a.lse),
      causal<fe::graph::SDPA_backward_attributes>("attention_backward", a.q.size(3))
          .set_deterministic_algorithm(deterministic));
  set_output(dq, tensor_of(kDq, a.dq, batch));
  set_output(dk, tensor_of(kDk, a.dk, batch));
  set_output(dv, tensor_of(kDv, a.dv, batch));
  build(cudnn, plan);
  return plan;
}

// Pointer to the first element of a sequence.
template <class T>
void* at(const Heads<T>& x, int64_t sequence) {
  return const_cast<std::remove_const_t<T>*>(x.at(sequence * x.size(1), 0));
}
template <class T>
void* at(const View<T, 3>& lse, int64_t sequence) {
  return const_cast<std::remove_const_t<T>*>(lse.row(sequence));
}

void execute(Cudnn& cudnn, Plan& plan, std::unordered_map<int64_t, void*> memory) {
  if (plan.num_bytes > cudnn.workspace.num_bytes()) cudnn.workspace = Buffer(Device::kCuda, plan.num_bytes);
  fe::error_t status = plan.graph.execute(cudnn.handle, memory, cudnn.workspace.data());
  ENGRAM_CHECK(status.is_good(), "attention: cuDNN: ", status.get_message());
}

// Sums in a fixed order need the gradients of all scores; otherwise all sequences are done at once.
int64_t sequences_per_call(const AttentionBackward<bfloat16>& a, bool deterministic) {
  const int64_t batch = a.q.size(0), seq = (a.q.size(1) + kKeyTile - 1) / kKeyTile * kKeyTile;
  return deterministic ? attention_sequences_per_call(batch, a.q.size(2) * seq * seq * 2) : batch;
}

}  // namespace

bool forward_by_cudnn(CudaQueue& queue, const AttentionForward<bfloat16>& a) {
  if (a.q.numel() == 0 || !may_use(queue, a.q.size(1)) || !fit(a.q, a.k, a.v, a.out)) return false;
  Cudnn& cudnn = cudnn_of(queue);
  Plan& plan = forward_plan(cudnn, a, a.q.size(0));
  if (!plan.works) return false;
  execute(cudnn, plan,
          {{kQ, at(a.q, 0)}, {kK, at(a.k, 0)}, {kV, at(a.v, 0)}, {kOut, at(a.out, 0)}, {kLse, at(a.lse, 0)}});
  return true;
}

bool backward_by_cudnn(CudaQueue& queue, const AttentionBackward<bfloat16>& a) {
  if (a.q.numel() == 0 || !may_use(queue, a.q.size(1))) return false;
  if (!fit(a.q, a.k, a.v, a.out, a.dout, a.dq, a.dk, a.dv)) return false;
  Cudnn& cudnn = cudnn_of(queue);
  const bool deterministic = queue.resources->deterministic;
  const int64_t batch = a.q.size(0), per_call = sequences_per_call(a, deterministic);
  const bool ends_short = batch % per_call != 0;
  if (!backward_plan(cudnn, a, per_call, deterministic).works) return false;
  if (ends_short && !backward_plan(cudnn, a, batch % per_call, deterministic).works) return false;
  for (int64_t begin = 0; begin < batch; begin += per_call) {
    execute(cudnn, backward_plan(cudnn, a, std::min(per_call, batch - begin), deterministic),
            {{kQ, at(a.q, begin)},
             {kK, at(a.k, begin)},
             {kV, at(a.v, begin)},
             {kOut, at(a.out, begin)},
             {kLse, at(a.lse, begin)},
             {kDout, at(a.dout, begin)},
             {kDq, at(a.dq, begin)},
             {kDk, at(a.dk, begin)},
             {kDv, at(a.dv, begin)}});
  }
  return true;
}

}  // namespace engram
