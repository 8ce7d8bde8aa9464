#pragma once

#include <cstdint>
#include <vector>

namespace engram {

// What fixes the addresses of n-grams. Two runs with equal values read the same rows for the same text.
struct NgramLayoutConfig {
  std::vector<int64_t> layers;         // zero-based block numbers of the Engram modules, in the order of the list
  int64_t max_order = 3;               // n-grams of 2..max_order tokens
  int64_t heads = 8;                   // hash heads per order
  std::vector<int64_t> rows_per_head;  // one per order: primes are searched from here on
  int64_t compressed_vocab = 0;        // ids of the compressed vocabulary
  uint64_t base_seed = 0;
};

// Hash constants of one layer. Columns are ordered by n-gram order, then by head.
struct NgramLayer {
  int64_t layer = 0;                 // zero-based block number
  std::vector<int64_t> multipliers;  // [max_order], odd
  std::vector<int64_t> primes;       // [num_columns], rows of each column
  std::vector<int64_t> offsets;      // [num_columns], first row of each column in the layer's table
  int64_t num_rows = 0;              // rows of the layer's table: the sum of its primes
};

struct NgramLayout {
  int64_t max_order = 0;
  int64_t heads = 0;
  std::vector<NgramLayer> layers;

  int64_t num_columns() const { return (max_order - 1) * heads; }
  // Rows of all layers' tables together.
  int64_t num_rows() const;
};

// Multipliers are drawn per layer from PCG64 seeded with base_seed + 10007 * layer; primes are taken upward from
// rows_per_head in (layer, order, head) order, none twice over all layers. Throws Error where a value is out of range:
// no layer or one named twice, max_order < 2, heads < 1, rows_per_head not one value >= 2 per order, or
// compressed_vocab outside [1, 2^30). Source: Engram demo (arXiv:2601.07372).
NgramLayout make_ngram_layout(const NgramLayoutConfig& config);

// The multipliers of one layer alone: max_order odd numbers below 2^63 / compressed_vocab.
std::vector<int64_t> ngram_multipliers(int64_t compressed_vocab, int64_t max_order, uint64_t base_seed, int64_t layer);

}  // namespace engram
