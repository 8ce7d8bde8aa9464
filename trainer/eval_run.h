#pragma once

#include <string>
#include <vector>

#include "trainer/eval_items.h"
#include "trainer/eval_measures.h"
#include "trainer/replica.h"

namespace engram {

struct EvalGroup {
  std::string name;
  int64_t num_items = 0;
  std::vector<EvalMeasure> measures;
};

struct EvalResult {
  EvalTask task;
  std::string file_digest;
  std::vector<ScoredItem> items = {};
  int64_t num_left_out = 0;  // items that do not fit the model, and facts without a sentence
  int64_t num_cut = 0;       // items of which the model did not see the beginning
  std::vector<EvalMeasure> measures = {};
  std::vector<EvalGroup> groups = {};  // by name; empty without group_by
};

// Scores items of a task: num_samples of them, spread evenly, or all for 0. Each is a document of its own: the
// end-of-text token stands before it, as between documents in training. Of an item that is longer than data.seq_len the
// context is cut from the left; one whose scored text alone is longer is left out. The items of kind loss are the
// windows of data.seq_len tokens into which documents are divided. Collective; all ranks get the same bits, on any
// number of ranks. Throws Error where no item is left.
EvalResult run_eval_task(Replica& replica, const BpeTokenizer& tokenizer, const EvalTask& task, const EvalItems& items,
                         int64_t num_samples);

}  // namespace engram
