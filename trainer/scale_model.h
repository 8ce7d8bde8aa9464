#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/run_config.h"

// What the exchange of table rows costs on more GPUs than one has: arithmetic from measured constants, a model and
// never a measurement. docs/results/scale-model.md says where the constants come from.
namespace engram {

// The links of a GPU. Pairs are the least and the most that is expected.
struct NetworkConfig {
  int64_t gpus_per_host = 8;
  double host_gb_per_s = 317;
  std::vector<double> network_gb_per_s{42.5, 48.5};
  std::vector<double> message_us{1, 5};
};
ConfigProblems validate(const NetworkConfig& config);

template <class Visitor>
void visit_fields(NetworkConfig& c, Visitor&& field) {
  field("gpus_per_host", c.gpus_per_host, Range{1, 1e6}, "GPUs that reach each other without the network");
  field("host_gb_per_s", c.host_gb_per_s, Range{1e-3, 1e6}, "of a GPU to those of its host, one way, large messages");
  field("network_gb_per_s", c.network_gb_per_s, Range{1e-3, 1e6},
        "its share of the host's network cards, one way: [least, most]");
  field("message_us", c.message_us, Range{0, 1e6},
        "time of a message to another host besides its bytes: [least, most]");
}

// A name ("ib400", "ib200": InfiniBand of 400 or 200 Gbit/s a GPU) or a YAML file with the fields above. Throws
// ConfigError.
NetworkConfig load_network(const std::string& name);

// What every rank does in a step.
struct ExchangeCase {
  int64_t num_ranks = 1;
  int64_t tokens = 0;          // of a rank
  int64_t rows_per_token = 0;  // over all layers, from as many tables of equal size
  int64_t num_rows = 0;        // of these tables together
  int64_t width = 0;
  double step_flops = 0;   // of a rank
  double cover_flops = 0;  // of them, those of the first micro-batch before it reads a row
};

// A kernel that moves rows.
struct RowKernel {
  double fixed_seconds = 0;
  double bytes_per_second = 1;  // read and written
  double row_seconds = 0;       // of each row read, besides its bytes

  double seconds(double num_bytes, double num_rows = 0) const {
    return fixed_seconds + num_bytes / bytes_per_second + num_rows * row_seconds;
  }
};

// One value for everything that is not known for sure.
struct ScaleRates {
  int64_t gpus_per_host = 8;
  double host_bytes_per_second = 0;
  double network_bytes_per_second = 0;
  double message_seconds = 0;
  RowKernel gather;   // of rows
  RowKernel sum;      // of the gradients that an owner gets from all ranks
  RowKernel own_sum;  // before, of those of a rank's own requests
  double flops_per_second = 0;
  double distinct_shift = 0;  // added to the share of n-grams that are distinct
};

struct ExchangePrediction {
  // Of a rank's step: rows asked for, distinct ones among them; distinct ones that all ranks ask of one owner.
  double requests = 0, distinct = 0, owned = 0;
  // Bytes from a rank to all others; rows without deduplication count requests in place of distinct rows.
  double slot_bytes = 0, row_bytes = 0, gradient_bytes = 0, undeduplicated_bytes = 0;
  double plan_seconds = 0;    // headers and slots
  double fetch_seconds = 0;   // rows: gathered by their owners and sent; on one rank only gathered
  double sum_seconds = 0;     // gradients: a rank's own, added up for each distinct row
  double return_seconds = 0;  // these sums: sent, and added by the owners; 0 on one rank
  double compute_seconds = 0;
  // What the step takes longer: a plan beyond the step before, under which it is made; a fetch beyond what comes before
  // its first use; sums and return, which the model lets nothing hide.
  double exposed_seconds = 0;

  double exposed_share() const { return exposed_seconds / (compute_seconds + exposed_seconds); }
};

// Distinct ones among the n-grams (of orders 2 and 3, on average) of that many tokens of English text.
double distinct_ngrams(double tokens, double distinct_shift);

// From one rank to all others of num_ranks, equal parts; 0 where there are none.
double all_to_all_seconds(double num_bytes, int64_t num_ranks, const ScaleRates& rates);

ExchangePrediction predict_exchange(const ExchangeCase& work, const ScaleRates& rates);

// The most and the least favourable rates.
struct ScaleRange {
  ScaleRates best, worst;
};
ScaleRange scale_range(const NetworkConfig& network);

// Of a configuration that passed check_world() for that number of ranks.
ExchangeCase exchange_case(const RunConfig& config, int64_t num_ranks);

// `engram estimate --network`: a line for each number of ranks.
struct ScaleOptions {
  std::string network;
  std::vector<int64_t> ranks;  // empty = those of 8, 16, .. 4096 that the configuration fits
  int64_t local_batch = 0;     // sequences of a rank's step; 0 = train.global_batch over the ranks
};
// Throws ConfigError where the configuration has no tables, and what check_world() throws.
std::string scale_text(const RunConfig& config, const ScaleOptions& options);

}  // namespace engram
