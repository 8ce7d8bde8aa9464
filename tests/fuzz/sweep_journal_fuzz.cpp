#include "tests/data/temporary_directory.h"
#include "tests/fuzz/fuzz.h"
#include "trainer/sweep_journal.h"

// A sweep's journal: what is taken is the same after a change to it was written and read.
namespace engram::fuzz {

bool reads(std::string_view input) {
  static const test::TemporaryDirectory kDirectory;
  test::write_file(kDirectory / "journal.jsonl", std::string(input));
  if (!accepts([&] { SweepJournal journal(kDirectory.path()); })) return false;
  SweepJournal journal(kDirectory.path());
  if (journal.trials().empty()) return true;
  TrialEntry last = journal.trials().back();
  last.state = TrialState::kFailed;
  last.reason = "it was told to";
  journal.record(last);
  journal.refresh();
  must_hold(journal.trials().back().reason == last.reason, "a change is read back");
  return true;
}

}  // namespace engram::fuzz
