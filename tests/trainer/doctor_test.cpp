#include "trainer/doctor.h"

#include <gtest/gtest.h>

namespace engram {
namespace {

// A job in which all is well: two ranks on each of two hosts.
JobFacts good_job() {
  JobFacts job;
  for (int rank = 0; rank < 4; ++rank) {
    RankFacts facts;
    facts.host = rank < 2 ? "a" : "b";
    facts.libraries = {{"Open MPI", "4.1.4", "4.1.4"}, {"OpenBLAS", "0.3.21", "0.3.26"}};
    facts.clock_micros = {1000, 2000};
    facts.open_files = 1024;
    facts.locked_bytes = 8 << 20;
    facts.shared_memory_bytes = 64 << 20;
    facts.cores = {0, 1};
    facts.disk_free_bytes = 1000;
    facts.disk_bytes_per_second = rank == 2 ? 50 : 70;
    job.ranks.push_back(facts);
    if (rank == 0) continue;
    job.links.push_back(
        {.rank = rank, .call_seconds = 1e-6, .bytes_per_second = 1e9, .uses_tcp = rank >= 2, .is_intact = true});
  }
  job.directory = "/runs";
  job.checkpoint_bytes = 900;
  return job;
}

// "check: text" of each check that failed.
std::vector<std::string> failures(const JobFacts& job) {
  std::vector<std::string> failed;
  for (const Finding& finding : diagnose(job)) {
    if (finding.verdict == Verdict::kFailed) failed.push_back(finding.check + ": " + finding.text);
  }
  return failed;
}

// Exactly one check fails, and its line starts with that.
void expect_failure(const JobFacts& job, const std::string& begin) {
  const std::vector<std::string> failed = failures(job);
  ASSERT_EQ(failed.size(), 1u) << ::testing::PrintToString(failed);
  EXPECT_EQ(failed[0].substr(0, begin.size()), begin);
}

TEST(Doctor, HasNothingAgainstAGoodJob) {
  EXPECT_EQ(failures(good_job()), std::vector<std::string>());
  JobFacts job = good_job();
  job.ranks[3].open_files = job.ranks[3].locked_bytes = kUnlimited;
  EXPECT_EQ(failures(job), std::vector<std::string>());
}

TEST(Doctor, SeesCoresBeyondAThousand) {
  constexpr size_t kNumCores = 5000;  // of the system, which fills in no smaller set
  static int num_refused = 0;
  const std::vector<int> cores = usable_cores([](size_t num_bytes, cpu_set_t* set) {
    if (num_bytes * 8 < kNumCores) return ++num_refused == 0;
    for (const size_t core : {3, 1024, 4999}) CPU_SET_S(core, num_bytes, set);
    return true;
  });
  EXPECT_EQ(cores, (std::vector<int>{3, 1024, 4999}));
  EXPECT_EQ(num_refused, 3);
  EXPECT_TRUE(usable_cores([](size_t, cpu_set_t*) { return false; }).empty());
}

TEST(Doctor, NamesLibrariesThatDoNotFit) {
  JobFacts job = good_job();
  job.ranks[0].libraries[0].found = "5.0.1";
  for (RankFacts& rank : job.ranks) rank.libraries[0].found = "5.0.1";
  expect_failure(job, "Open MPI: rank 0 on a: 5.0.1 was found, but the program was built with 4.1.4; ");
  EXPECT_NE(failures(job)[0].find("(and 3 ranks more)"), std::string::npos);
  job = good_job();
  job.ranks[2].libraries[0].found = "4.1.6";
  expect_failure(job, "Open MPI: rank 2 on b: 4.1.6, but rank 0 has 4.1.4; ");
  job = good_job();
  job.ranks[1].libraries.pop_back();
  expect_failure(job, "OpenBLAS: rank 1 on a: not there, ");
}

TEST(Doctor, KnowsBadVersions) {
  for (const auto& [version, is_bad] : {std::pair{"0.3.3", false},
                                        {"0.3.4", true},
                                        {"0.3.6", true},
                                        {"0.3.7", false},
                                        {"0.3.11", true},
                                        {"0.3.12", false}}) {
    JobFacts job = good_job();
    for (RankFacts& rank : job.ranks) rank.libraries[1].found = version;
    EXPECT_EQ(!failures(job).empty(), is_bad) << version;
    if (is_bad) expect_failure(job, std::string("OpenBLAS: rank 0 on a: ") + version + " is known for ");
  }
}

TEST(Doctor, NamesLinksThatAreNotWhatTheyCouldBe) {
  JobFacts job = good_job();
  job.links[0].uses_tcp = true;
  expect_failure(job, "MPI transport: rank 0 reaches rank 1 on a, its own host, by TCP");
  job = good_job();
  for (RankFacts& rank : job.ranks) rank.has_infiniband = true, rank.locked_bytes = kUnlimited;
  expect_failure(job, "MPI transport: rank 0 reaches rank 2 on b by TCP although both hosts have InfiniBand; ");
  job = good_job();
  job.links[2].is_intact = false;
  expect_failure(job, "MPI transport: bytes from rank 0 on a to rank 3 on b and back come changed; ");
  job = good_job();
  job.card_links = job.links;
  EXPECT_TRUE(failures(job).empty());
  job.card_links[1].is_intact = false;
  expect_failure(job, "NCCL transport: bytes from rank 0 on a to rank 2 on b");
  job.card_links[1].is_intact = true;
  job.card_links[0].uses_tcp = true;
  expect_failure(job,
                 "NCCL transport: rank 0 reaches rank 1 on a, its own host, by TCP instead of memory; look at NCCL_");
  job.card_links.clear();
  job.card_problem = "too few cards";
  expect_failure(job, "NCCL transport: too few cards");
}

TEST(Doctor, SaysHowFastTheDiskIs) {
  const auto text = [](const JobFacts& job) {
    for (const Finding& finding : diagnose(job)) {
      if (finding.check == "run directory") return finding.text;
    }
    return std::string();
  };
  JobFacts job = good_job();
  EXPECT_EQ(text(job), "/runs: 1.0kB free, written at 200.0B/s, a checkpoint takes 900.0B and 5s");
  job.checkpoint_bytes.reset();
  EXPECT_EQ(text(job), "/runs: 1.0kB free, written at 200.0B/s");
}

TEST(Doctor, NamesADiskThatWillNotDo) {
  JobFacts job = good_job();
  job.ranks[1].disk_problem = "/runs/x: fsync failed";
  expect_failure(job, "run directory: rank 1 on a: /runs/x: fsync failed; ");
  job = good_job();
  job.ranks[2].disk_free_bytes = 899;
  expect_failure(job, "run directory: rank 2 on b: /runs: 899.0B free, a checkpoint takes 900.0B; ");
  job.checkpoint_bytes.reset();
  EXPECT_TRUE(failures(job).empty());
  job.config_problem = "parallel.table: 3";
  expect_failure(job, "configuration: parallel.table: 3");
}

TEST(Doctor, NamesAClockThatIsWrong) {
  JobFacts job = good_job();
  job.ranks[3].clock_micros = {1'001'001, 5'002'000};  // the second barrier says less
  expect_failure(job, "clocks: rank 3 on b: 1.0 seconds ahead of rank 0's; ");
  job.ranks[3].clock_micros = {-9'000'000, -2'000'000};
  expect_failure(job, "clocks: rank 3 on b: 2.0 seconds behind rank 0's; ");
  job.ranks[3].clock_micros = {1'001'000, 5'002'000};
  EXPECT_TRUE(failures(job).empty());
}

TEST(Doctor, NamesLimitsThatAreTooLow) {
  JobFacts job = good_job();
  job.ranks[1].open_files = 271;
  expect_failure(job, "open files: rank 1 on a: 271 may be open, wanted 272; ulimit -n 4096");
  job = good_job();
  for (Link& link : job.links) link.uses_tcp = false;
  job.ranks[2].has_infiniband = true;
  expect_failure(job, "locked memory: rank 2 on b: 8.4MB may be locked, ");
  job = good_job();
  job.ranks[2].shared_memory_bytes = (32 << 20) - 1;
  expect_failure(job, "shared memory: b: 33.6MB free in /dev/shm, wanted 33.6MB, ");
}

TEST(Doctor, NamesRanksThatShareCores) {
  JobFacts job = good_job();
  job.ranks[2].cores = job.ranks[3].cores = {5};  // bound to the same one
  expect_failure(job, "cores, ranks: b: 2 ranks share 1 cores ");
  job.ranks[3].cores = {6};
  EXPECT_TRUE(failures(job).empty());
}

TEST(Doctor, NamesCardsThatAreIll) {
  JobFacts job = good_job();
  job.ranks[1].num_cards = 1;
  job.ranks[1].gpus = {{.name = "card 0 (H200)"}};
  const GpuHealth well = job.ranks[1].gpus[0];
  for (RankFacts& rank : job.ranks) rank.num_cards = 1, rank.gpus = {well};
  EXPECT_TRUE(failures(job).empty());
  const auto expect_ill = [&](const GpuHealth& card, const std::string& begin) {
    job.ranks[1].gpus = {well, card};
    expect_failure(job, "cards: rank 1 on a: card 1: " + begin);
  };
  expect_ill({.name = "card 1", .error = "GPU is lost"}, "GPU is lost; ");
  expect_ill({.name = "card 1", .uncorrected_errors = 2}, "2 memory errors that ECC could not correct; ");
  expect_ill({.name = "card 1", .has_pending_remap = true}, "memory rows wait to be replaced; ");
  expect_ill({.name = "card 1", .has_failed_remap = true}, "memory rows that fail cannot be replaced any more; ");
  expect_ill({.name = "card 1", .is_slowed = true}, "slowed by its temperature or power supply; ");
  job.may_use_cards = false;
  EXPECT_TRUE(failures(job).empty());
  job = good_job();
  job.ranks[1].num_cards = 1;
  job.ranks[1].card_error = "cudaMalloc: an illegal memory access";
  expect_failure(job, "cards: rank 1 on a: cudaMalloc: an illegal memory access; ");
}

TEST(Doctor, NamesACardThatTheConfigurationWantsInVain) {
  JobFacts job = good_job();
  job.wants_cards = true;
  expect_failure(job, "cards: rank 0 on a: ");
}

}  // namespace
}  // namespace engram
