#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/bpe_tokenizer.h"
#include "trainer/eval_config.h"

namespace engram {

// A text that is scored, and what the model is shown before it.
struct ScoredText {
  std::string context;  // may be empty
  std::string continuation;
};

// One thing to judge: a document, a passage, a question, a fact.
struct EvalItem {
  std::vector<ScoredText> texts;  // one for each choice; one for the other kinds
  int64_t answer = 0;             // number of the right choice
  std::string group = {};         // value of the field group_by
};

struct EvalItems {
  std::string digest;  // of the file
  std::vector<EvalItem> items;
  int64_t num_left_out = 0;  // facts whose relation has no sentence that ends with the object
};

// The items of a task; relative paths are below `root`. A token store must have been made by the tokenizer. Throws
// Error "file:line: what" for a record that is not as the kind wants it, and for a file without items.
EvalItems read_eval_items(const EvalTask& task, const std::string& root, const BpeTokenizer& tokenizer);

}  // namespace engram
