#include "tests/data/temporary_directory.h"
#include "tests/fuzz/fuzz.h"
#include "trainer/run_report.h"
#include "trainer/sweep_results.h"

// The metrics and events of a run or trial, in one file: what is taken is reported on, alone and beside another run.
namespace engram::fuzz {

bool reads(std::string_view input) {
  static const test::TemporaryDirectory kDirectory;
  for (const char* name : {"metrics.jsonl", "events.jsonl"}) test::write_file(kDirectory / name, std::string(input));
  TrialFacts facts;
  facts.steps = facts.tokens = 2;
  RunRecord run;
  const auto read = [&] {
    outcome_of(read_trial_files(kDirectory.path(), facts), facts, /*validates=*/true);
    run = read_run(kDirectory.path());
  };
  if (!accepts(read)) return false;
  RunRecord other{.name = "other", .columns = {{"step", {1}}, {"tokens", {3}}}, .events = {}, .config = {}};
  for (const auto& runs : {std::vector{run}, std::vector{run, other}}) {
    must_hold(run_report_html(runs).ends_with("</html>\n"), "a page is whole");
  }
  return true;
}

}  // namespace engram::fuzz
