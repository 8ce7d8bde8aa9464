#pragma once

#include <string>
#include <vector>

#include "model/ngram_layout.h"
#include "trainer/replica.h"
#include "trainer/run_data.h"

namespace engram {

// What conditional memory sees of a text. Per token; the inner vectors of `rows` and `gates` are one per Engram layer.
struct Explanation {
  std::vector<int32_t> tokens;
  std::vector<uint8_t> starts;  // 1 where a segment starts: n-grams do not look back beyond it
  std::vector<int32_t> keys;    // compressed ids
  NgramLayout layout;
  std::vector<std::vector<int64_t>> rows;  // [num_tokens * num_columns] of the layer's table, by order, then by head
  std::vector<std::vector<double>> gates;  // [num_tokens], mean over the residual streams; none without a checkpoint
};

// Compresses and hashes tokens as training does. With boundary `document` a segment starts after each end of text.
// Throws Error for no tokens, or where no layer has memory.
Explanation explain(std::vector<int32_t> tokens, const RunTokenizer& tokenizer, const EngramConfig& config);

// Gates of every token in each Engram layer, by one forward pass. Throws Error where there are more tokens than
// data.seq_len. Collective.
std::vector<std::vector<double>> engram_gates(Replica& replica, const Explanation& explanation);

// For people: each token with its ids, its n-grams with their table rows, and its gates. `colored`: with the colours of
// a terminal, which also shade the text by its gates.
std::string explanation_text(const Explanation& explanation, const RunTokenizer& tokenizer, bool colored);

}  // namespace engram
