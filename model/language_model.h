#pragma once

#include <memory>
#include <vector>

#include "model/block.h"

namespace engram {

struct LanguageModelOptions {
  bool recompute = false;       // see Block
  int64_t logits_chunk = 1024;  // tokens whose logits are held at once
  ExpertPlacement experts = {};
};

// A decoder: token embedding, blocks, final norm, and a head of its own or the embedding's weight.
//
//   Tensor hidden = model.forward(ctx, batch, saved);
//   Tensor dhidden = model.loss(ctx, hidden, batch.targets, {.grad_scale = 1 / num_targets}, losses);
//   model.backward(ctx, dhidden, batch, saved);
class LanguageModel {
 public:
  struct Saved {
    Tensor rope_table;
    std::vector<Block::Saved> blocks;
    Connection::Saved final_norm;
  };
  struct LossOptions {
    double grad_scale = 1.0;  // factor of every gradient, for example 1 / tokens of the global batch
    bool with_gradient = true;
  };
  // Registers its parameters; config must have passed validate() and unsupported_for_training().
  LanguageModel(ParameterStore& store, const ModelConfig& config, const LanguageModelOptions& options);

  // Returns the normed hidden states [num_tokens, hidden].
  Tensor forward(Context& ctx, const MicroBatch& batch, Saved& saved) const;

  // losses [num_tokens] (accumulator dtype) = cross-entropy of each target; returns dhidden, shaped as hidden, and adds
  // to the head's gradient. Without gradient returns an empty tensor. Holds logits_chunk rows of logits at most.
  Tensor loss(Context& ctx, const Tensor& hidden, const Tensor& targets, const LossOptions& options,
              const Tensor& losses) const;

  // Adds to the gradients of all parameters but the head's, and to the memory's row gradients.
  void backward(Context& ctx, const Tensor& dhidden, const MicroBatch& batch, Saved& saved) const;

  // Logits [num_rows, vocab_size] of some hidden states [num_rows, hidden].
  Tensor logits(Context& ctx, const Tensor& hidden) const;

 private:
  ModelConfig config_;
  LanguageModelOptions options_;
  Parameter& embedding_;  // [vocab_size, hidden]
  std::vector<std::unique_ptr<Block>> blocks_;
  Connection final_norm_;
  Parameter& head_;  // [vocab_size, hidden]; the embedding where they are tied
};

}  // namespace engram
