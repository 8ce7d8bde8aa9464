#pragma once

#include <span>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/ngram_hash.h"
#include "model/model_config.h"
#include "model/ngram_layout.h"
#include "parallel/row_layout.h"

namespace engram {

// Constants of n-gram hashing for a model: NgramLayoutConfig from its configuration and the compressed vocabulary.
NgramLayout make_ngram_layout(const EngramConfig& config, int64_t compressed_vocab);

// Rows of each Engram layer's table, in the order of config.layers.
std::vector<int64_t> rows_per_table(const NgramLayout& layout);

// A layer's constants as ngram_hash() takes them on the CPU; the layer must outlive them.
NgramHashConstants host_constants(const NgramLayer& layer, int64_t heads, int32_t pad_id);

// Turns token ids into global rows (see RowLayout) on the device: compress, hash, and offset by the layer's table.
class MemoryAddresses {
 public:
  // compressed_ids [vocab_size]: compressed id of each raw token id; num_keys: size of the compressed vocabulary.
  MemoryAddresses(Stream& stream, const EngramConfig& config, std::span<const int32_t> compressed_ids, int64_t num_keys,
                  const RowLayout& rows);

  int64_t num_layers() const { return static_cast<int64_t>(constants_.size()); }
  int64_t num_columns() const { return num_columns_; }
  // Tokens of look-back that hashing needs before the first position.
  int64_t history() const { return history_; }

  // Global rows of every layer, one layer after the other.
  //
  //   tokens      [batch, history + seq] int32, raw ids
  //   starts      [batch, history + seq] uint8, 1 = a segment starts here
  //   compressed  [batch, history + seq] int32, written: their ids in the compressed vocabulary
  //   rows        [num_layers * batch * seq * num_columns] int64, written
  void rows(Stream& stream, const Tensor& tokens, const Tensor& starts, const Tensor& compressed,
            const Tensor& rows) const;

 private:
  int64_t num_columns_ = 0;
  int64_t history_ = 0;
  Buffer buffer_;
  Tensor compressed_ids_;
  std::vector<NgramHashConstants> constants_;  // offsets are global rows
};

}  // namespace engram
