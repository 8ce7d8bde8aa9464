#include "model/ngram_layout.h"

#include <algorithm>
#include <set>

#include "kernels/core/check.h"
#include "model/pcg64.h"

namespace engram {
namespace {

constexpr int64_t kMaxCompressedVocab = int64_t{1} << 30;  // from here on NumPy draws multipliers by another rule
constexpr int64_t kMaxRowsPerHead = int64_t{1} << 40;      // primality is tested by trial division

void check(const NgramLayoutConfig& config) {
  ENGRAM_CHECK(!config.layers.empty(), "ngram layout: no layer; wanted at least one zero-based block number");
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const int64_t layer = config.layers[i];
    ENGRAM_CHECK(layer >= 0, "ngram layout: layer ", layer, "; wanted a zero-based block number");
    ENGRAM_CHECK(std::find(config.layers.begin(), config.layers.begin() + static_cast<std::ptrdiff_t>(i), layer) ==
                     config.layers.begin() + static_cast<std::ptrdiff_t>(i),
                 "ngram layout: layer ", layer, " is named twice");
  }
  ENGRAM_CHECK(config.max_order >= 2, "ngram layout: max_order ", config.max_order, "; wanted at least 2");
  ENGRAM_CHECK(config.heads >= 1, "ngram layout: heads ", config.heads, "; wanted at least 1");
  ENGRAM_CHECK(std::ssize(config.rows_per_head) == config.max_order - 1, "ngram layout: rows_per_head has ",
               config.rows_per_head.size(), " values; wanted one per order, that is ", config.max_order - 1);
  for (const int64_t rows : config.rows_per_head) {
    ENGRAM_CHECK(rows >= 2 && rows <= kMaxRowsPerHead, "ngram layout: rows_per_head ", rows, "; wanted 2 to ",
                 kMaxRowsPerHead);
  }
}

bool is_prime(int64_t number) {
  if (number % 2 == 0) return number == 2;
  for (int64_t divisor = 3; divisor * divisor <= number; divisor += 2) {
    if (number % divisor == 0) return false;
  }
  return number > 1;
}

// The smallest prime >= number that is not in `seen`, which then holds it.
int64_t take_prime(int64_t number, std::set<int64_t>& seen) {
  while (seen.contains(number) || !is_prime(number)) ++number;
  seen.insert(number);
  return number;
}

}  // namespace

int64_t NgramLayout::num_rows() const {
  int64_t total = 0;
  for (const NgramLayer& layer : layers) total += layer.num_rows;
  return total;
}

std::vector<int64_t> ngram_multipliers(int64_t compressed_vocab, int64_t max_order, uint64_t base_seed, int64_t layer) {
  ENGRAM_CHECK(compressed_vocab >= 1 && compressed_vocab < kMaxCompressedVocab, "ngram layout: compressed_vocab ",
               compressed_vocab, "; wanted 1 to ", kMaxCompressedVocab - 1);
  const uint64_t bound = INT64_MAX / static_cast<uint64_t>(compressed_vocab) / 2;
  Pcg64 random(base_seed + 10007 * static_cast<uint64_t>(layer));
  std::vector<int64_t> multipliers(static_cast<size_t>(max_order));
  for (int64_t& multiplier : multipliers) multiplier = static_cast<int64_t>(2 * random.next_below(bound) + 1);
  return multipliers;
}

NgramLayout make_ngram_layout(const NgramLayoutConfig& config) {
  check(config);
  NgramLayout layout{.max_order = config.max_order, .heads = config.heads, .layers = {}};
  std::set<int64_t> seen;
  for (const int64_t number : config.layers) {
    NgramLayer layer{
        .layer = number,
        .multipliers = ngram_multipliers(config.compressed_vocab, config.max_order, config.base_seed, number),
        .primes = {},
        .offsets = {},
        .num_rows = 0};
    for (const int64_t rows : config.rows_per_head) {
      for (int64_t head = 0; head < config.heads; ++head) {
        layer.offsets.push_back(layer.num_rows);
        layer.primes.push_back(take_prime(rows, seen));
        layer.num_rows += layer.primes.back();
      }
    }
    layout.layers.push_back(std::move(layer));
  }
  return layout;
}

}  // namespace engram
