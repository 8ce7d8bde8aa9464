#pragma once

#include <optional>

#include "model/attention.h"
#include "model/connection.h"
#include "model/engram.h"
#include "model/moe.h"

namespace engram {

// One layer: Engram (where the configuration has it) onto the streams, then attention, then a feed-forward network or
// a mixture of experts, each through a connection.
class Block {
 public:
  struct Saved {
    Residual input;  // all that is kept where the block is recomputed
    Connection::Saved attention_connection, feed_forward_connection;
    Engram::Saved engram;
    Attention::Saved attention;
    FeedForward::Saved feed_forward;
    Moe::Saved moe;
  };
  // recompute: keep the input alone, and compute the block again in backward.
  Block(ParameterStore& store, const ModelConfig& config, int64_t layer, bool recompute,
        const ExpertPlacement& experts);

  Residual forward(Context& ctx, const Residual& input, const MicroBatch& batch, Saved& saved) const;
  // d: on entry the gradients of what forward() returned, one tensor for both parts; on return those of its input, in
  // the same memory. Changes `saved` where the block is recomputed.
  void backward(Context& ctx, const Residual& d, const MicroBatch& batch, Saved& saved) const;

 private:
  Residual compute(Context& ctx, Residual residual, const MicroBatch& batch, Saved& saved) const;
  void differentiate(Context& ctx, const Residual& d, const MicroBatch& batch, const Saved& saved) const;

  bool recompute_;
  std::optional<Engram> engram_;
  Connection attention_connection_;
  Attention attention_;
  Connection feed_forward_connection_;
  std::optional<FeedForward> feed_forward_;
  std::optional<Moe> moe_;
};

}  // namespace engram
