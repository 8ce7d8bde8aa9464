#include "trainer/sweep_journal.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>

#include "data/file_lock.h"
#include "tests/data/deep_json.h"
#include "tests/data/temporary_directory.h"
#include "tests/trainer/sweep_testing.h"
#include "trainer/sweep_results.h"

namespace engram {
namespace {

using test::read_file;
using test::small_sweep;
using test::write_file;

class Journal : public ::testing::Test {
 protected:
  SweepPlan plan(std::vector<std::string> sets = {}) {
    sets.push_back("run.dir=" + directory_.path());
    return make_plan(small_sweep(sets));
  }
  SweepJournal begun() {
    SweepJournal::begin(sweep(), plan());
    return SweepJournal(sweep());
  }
  std::string sweep() const { return directory_ / "small"; }
  std::string file() const { return sweep() + "/journal.jsonl"; }

  test::TemporaryDirectory directory_;
};

TEST_F(Journal, KeepsNumbersFactsAndStates) {
  SweepJournal journal = begun();
  ASSERT_EQ(journal.trials().size(), 8u);
  TrialEntry entry = journal.trial(2);
  entry.state = TrialState::kDone;
  entry.outcome = {.loss = 3.25, .train_loss = kNotMeasured, .seconds = 1.5, .tok_s = 2, .skipped_steps = 1};
  journal.record(entry);
  const SweepJournal again(sweep());
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(again.trials()[i].number, static_cast<int64_t>(i));
    EXPECT_EQ(again.trials()[i].digest, plan().trials[i].digest);
    EXPECT_EQ(again.trials()[i].facts.total_parameters, plan().trials[i].facts.total_parameters);
    EXPECT_EQ(again.trials()[i].state, i == 2 ? TrialState::kDone : TrialState::kQueued);
  }
  EXPECT_EQ(again.trial(2).outcome.loss, 3.25);
  EXPECT_TRUE(std::isnan(again.trial(2).outcome.train_loss));
  EXPECT_EQ(again.trial(2).outcome.skipped_steps, 1);
}

// A writer may be killed after any byte of its line.
TEST_F(Journal, ATornLastLineDidNotHappenAndIsCutOff) {
  SweepJournal journal = begun();
  const std::string before = read_file(file());
  TrialEntry entry = journal.trial(0);
  entry.state = TrialState::kSkipped;
  journal.record(entry);
  const std::string after = read_file(file());
  for (size_t size = before.size(); size < after.size(); ++size) {
    write_file(file(), after.substr(0, size));
    SweepJournal torn(sweep());
    EXPECT_EQ(torn.trial(0).state, TrialState::kQueued);
    torn.record(entry);
    EXPECT_EQ(read_file(file()), after);
  }
}

TEST_F(Journal, RefusesDamageElsewhereWithItsPlace) {
  begun();
  const std::string text = read_file(file());
  const size_t second = text.find('\n') + 1;
  for (const std::string& damaged : {text.substr(0, second) + "x" + text.substr(second), text.substr(second, 20) + "\n",
                                     std::string("{\"record\":\"sweep\",\"format\":2}\n"),
                                     "{\"record\":\"sweep\",\"format\":" + test::deep_json() + "}\n",
                                     text + "{\"record\":\"state\",\"trial\":99}\n"}) {
    write_file(file(), damaged);
    try {
      SweepJournal journal(sweep());
      ADD_FAILURE() << damaged.substr(0, 80);
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("journal.jsonl:"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("is damaged"), std::string::npos) << error.what();
    }
  }
}

TEST_F(Journal, AddingNeverRenumbers) {
  SweepJournal journal = begun();
  EXPECT_EQ(journal.add(plan()), 0);
  const SweepPlan larger = plan({"sweep.ratios=[0.25, 0, 0.5, 0.75, 1]"});
  EXPECT_EQ(journal.add(larger), 2);
  ASSERT_EQ(journal.trials().size(), 10u);
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(journal.trials()[i].digest, plan().trials[i].digest);
  EXPECT_EQ(journal.trial(8).facts.ratio, 0.25);
  EXPECT_NO_THROW(journal.check_same(larger));
  const std::string refused = test::refusal([&] { journal.check_same(plan()); });
  EXPECT_NE(refused.find("not in the file: trial 8 (ratio 0.25, seed 3)"), std::string::npos) << refused;
  EXPECT_NE(test::refusal([&] { journal.add(plan()); }).find("no longer has trial 8"), std::string::npos);
}

TEST_F(Journal, SeveralWritersTakeTurns) {
  begun();
  SweepJournal one(sweep()), other(sweep());
  for (int64_t number = 0; number < 8; ++number) {
    SweepJournal& writer = number % 2 == 0 ? one : other;
    TrialEntry entry = writer.trial(number);
    entry.state = TrialState::kFailed;
    writer.record(entry);
  }
  one.refresh();
  for (const TrialEntry& entry : one.trials()) EXPECT_EQ(entry.state, TrialState::kFailed);
}

TEST(SweepProcess, AnIdentityIsMoreThanANumber) {
  const ProcessIdentity self = process_identity(::getpid());
  EXPECT_GT(self.start_ticks, 0);
  EXPECT_EQ(liveness(self), Liveness::kAlive);
  ProcessIdentity other = self;
  --other.start_ticks;
  EXPECT_EQ(liveness(other), Liveness::kDead);
  other = self;
  other.boot_id = "another";
  EXPECT_EQ(liveness(other), Liveness::kDead);
  other = self;
  other.host = "elsewhere.invalid";
  EXPECT_EQ(liveness(other), Liveness::kUnknown);
}

TEST(SweepProcess, AChildWaitsForItsRelease) {
  test::TemporaryDirectory directory;
  const Launch launch{
      .arguments = {"sh", "-c", "echo $WORD; exit 3"}, .environment = {"WORD=let_go"}, .output = directory / "output"};
  {
    ChildProcess child(launch);
    EXPECT_EQ(liveness(child.identity()), Liveness::kAlive);
    EXPECT_FALSE(child.poll().has_value());
    child.release();
    EXPECT_EQ(child.wait(), 3);
    EXPECT_EQ(read_file(directory / "output"), "let_go\n");
  }
  ProcessIdentity never_released;
  {
    const ChildProcess child(launch);
    never_released = child.identity();
  }
  EXPECT_EQ(::waitpid(static_cast<pid_t>(never_released.pid), nullptr, 0), never_released.pid);
  EXPECT_EQ(read_file(directory / "output"), "let_go\n");
}

TEST(SweepProcess, AChildThatWasKilledMayBeReleased) {
  test::TemporaryDirectory directory;
  ChildProcess child({.arguments = {"true"}, .environment = {}, .output = directory / "output"});
  ::kill(static_cast<pid_t>(child.identity().pid), SIGKILL);
  EXPECT_EQ(child.wait(), 128 + SIGKILL);
  child.release();
}

TEST(SweepProcess, ALockIsHeldOnce) {
  test::TemporaryDirectory directory;
  const std::string path = directory / "lock";
  EXPECT_TRUE(is_free(path));
  {
    const FileLock lock(path, false);
    EXPECT_TRUE(lock.held());
    EXPECT_FALSE(FileLock(path, false).held());
    EXPECT_FALSE(is_free(path));
  }
  EXPECT_TRUE(is_free(path));
}

class TrialResults : public ::testing::Test {
 protected:
  TrialResults() {
    facts_.steps = 4;
    facts_.tokens = 400;
    std::string metrics;
    for (int step = 1; step <= 4; ++step) {
      metrics += "{\"step\":" + std::to_string(step) + ",\"loss\":" + std::to_string(8 - step) +
                 ".5,\"tok_s\":50.0,\"skipped\":0}\n";
    }
    write_file(directory_ / "metrics.jsonl", metrics + "{\"step\":5,\"lo");
    write_file(directory_ / "events.jsonl",
               "{\"step\":0,\"event\":\"start\"}\n{\"step\":2,\"event\":\"eval\",\"loss\":6.0}\n"
               "{\"step\":4,\"event\":\"eval\",\"loss\":5.0}\n");
  }
  test::TemporaryDirectory directory_;
  TrialFacts facts_;
};

TEST_F(TrialResults, AreReadFromTheTrialsOwnFiles) {
  const TrialFiles files = read_trial_files(directory_.path(), facts_);
  EXPECT_EQ(files.last_step, 4);
  EXPECT_DOUBLE_EQ(files.seconds, 8);  // 100 tokens a step at 50 per second
  ASSERT_EQ(files.validations.size(), 2u);
  EXPECT_DOUBLE_EQ(files.validations[0].seconds, 4);
  EXPECT_DOUBLE_EQ(files.validations[0].tokens, 200);
  const auto outcome = outcome_of(files, facts_, true);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->loss, 5.0);
  EXPECT_EQ(outcome->train_loss, 4.5);
  EXPECT_DOUBLE_EQ(outcome->tok_s, 50);
  EXPECT_EQ(outcome_of(files, facts_, false)->loss, 4.5);
}

TEST_F(TrialResults, AreNoneBeforeTheLastValidation) {
  TrialFacts longer = facts_;
  longer.steps = 5;
  EXPECT_FALSE(outcome_of(read_trial_files(directory_.path(), longer), longer, true));
  write_file(directory_ / "events.jsonl", "{\"step\":2,\"event\":\"eval\",\"loss\":6.0}\n");
  EXPECT_FALSE(outcome_of(read_trial_files(directory_.path(), facts_), facts_, true));
  EXPECT_FALSE(outcome_of(read_trial_files(directory_ / "missing", facts_), facts_, false));
}

}  // namespace
}  // namespace engram
