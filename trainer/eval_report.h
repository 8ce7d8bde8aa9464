#pragma once

#include <string>
#include <vector>

#include "trainer/eval_run.h"

namespace engram {

// What was evaluated; the same for any number of ranks.
struct EvalSubject {
  std::string checkpoint;         // path
  std::string checkpoint_digest;  // of its manifest
  int64_t step = 0;
  std::string tokenizer_digest;
  std::string device, precision;
};

// Head and foot of the table, and the lines of one task.
std::string eval_table_head();
std::string eval_table_lines(const EvalResult& result);
std::string eval_table_foot();

// Everything but single items, as JSON.
std::string eval_json(const EvalSubject& subject, const std::vector<EvalResult>& results);

// A line of JSON for each item: what every text of it cost.
std::string eval_item_lines(const std::vector<EvalResult>& results);

}  // namespace engram
