#include "trainer/sweep_results.h"

#include <cmath>
#include <map>

#include "trainer/json_lines.h"

namespace engram {
namespace {

using Json = nlohmann::json;

}  // namespace

TrialFiles read_trial_files(const std::string& directory, const TrialFacts& facts) {
  TrialFiles files;
  const double step_tokens = static_cast<double>(facts.tokens) / static_cast<double>(std::max<int64_t>(1, facts.steps));
  const int64_t tail = facts.steps - std::max<int64_t>(1, facts.steps / 10);
  double loss_sum = 0;
  int64_t loss_count = 0;
  std::map<int64_t, double> seconds_at;
  each_step_line(directory + "/metrics.jsonl", [&](const Json& line, const std::string&) {
    files.last_step = line["step"];
    const double seconds = step_tokens / number_in(line, "tok_s");
    if (std::isfinite(seconds)) files.seconds += seconds;
    seconds_at[files.last_step] = files.seconds;
    files.skipped_steps += number_in(line, "skipped") > 0 ? 1 : 0;
    const double loss = number_in(line, "loss");
    if (files.last_step <= tail || !std::isfinite(loss)) return;
    loss_sum += loss;
    ++loss_count;
  });
  if (loss_count > 0) files.train_loss = loss_sum / static_cast<double>(loss_count);
  std::map<int64_t, double> losses;  // a resumed trial may have validated a step twice, with one result
  each_step_line(directory + "/events.jsonl", [&](const Json& line, const std::string& where) {
    if (text_in(line, "event", where) == "eval") losses[line["step"]] = number_in(line, "loss");
  });
  for (const auto& [step, loss] : losses) {
    const auto at = seconds_at.find(step);
    const double seconds = at == seconds_at.end() ? kNotMeasured : at->second;
    files.validations.push_back(
        {.step = step, .tokens = static_cast<double>(step) * step_tokens, .seconds = seconds, .loss = loss});
  }
  return files;
}

std::optional<TrialOutcome> outcome_of(const TrialFiles& files, const TrialFacts& facts, bool validates) {
  if (files.last_step < facts.steps) return std::nullopt;
  const bool is_validated = !files.validations.empty() && files.validations.back().step == facts.steps;
  if (validates && !is_validated) return std::nullopt;
  return TrialOutcome{.loss = validates ? files.validations.back().loss : files.train_loss,
                      .train_loss = files.train_loss,
                      .seconds = files.seconds,
                      .tok_s = static_cast<double>(facts.tokens) / files.seconds,
                      .skipped_steps = files.skipped_steps};
}

std::string trial_directory(const std::string& sweep_directory, int64_t number) {
  return trials_directory(sweep_directory) + "/" + trial_name(number);
}

}  // namespace engram
