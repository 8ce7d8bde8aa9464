#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// A position that takes no part in n-grams (padding, image spans); its window holds pad ids only.
inline constexpr int32_t kDeadToken = -1;

// compressed[i] = map[tokens[i]]; kDeadToken stays kDeadToken.
//
//   tokens      [n]           int32
//   map         [vocab_size]  int32, compressed id of each raw id
//   compressed  [n]           int32, written; may be tokens
//
// Throws Error where a shape or dtype does not fit and, on the CPU, for a token outside [0, vocab_size).
void compress_tokens(Stream& stream, const Tensor& tokens, const Tensor& map, const Tensor& compressed);

// Constants of one layer's hash; NgramLayout makes them. Columns are ordered by n-gram order, then by head, so there
// are (max_order - 1) * heads of them.
struct NgramHashConstants {
  int64_t heads = 0;   // hash heads per order
  int32_t pad_id = 0;  // compressed id of what cannot be seen
  Tensor multipliers;  // [max_order] int64, odd
  Tensor primes;       // [num_columns] int64
  Tensor offsets;      // [num_columns] int64, first row of each column in the layer's table
};

// Row numbers, local to the layer's table, of every n-gram that ends at a position. With c = compressed ids,
//   mix_1 = c_t * m_0;  mix_n = mix_{n-1} XOR (c_{t-n+1} * m_{n-1});  row(t, n, head) = mix_n mod prime + offset.
// Of the window t, t-1, ..., slot i holds pad_id instead of its id if any of the slots 0..i is kDeadToken, lies before
// the last segment start at or before t, or lies before the first given position.
//
//   compressed  [batch, history + seq]    int32, in [0, compressed vocabulary) or kDeadToken; the first `history`
//                                         positions only serve the look-back of the others
//   starts      [batch, history + seq]    uint8, 1 = a segment starts here; empty = no segments
//   rows        [batch * seq, columns]    int64, written
//
// Throws Error where a shape or dtype does not fit. Source: Engram demo (arXiv:2601.07372) and DeepSeek-V4.1
// (arXiv:2609.19969); the products stay below 2^63 because each multiplier is below 2^63 / compressed vocabulary.
void ngram_hash(Stream& stream, const Tensor& compressed, const Tensor& starts, int64_t history,
                const NgramHashConstants& constants, const Tensor& rows);

}  // namespace engram
