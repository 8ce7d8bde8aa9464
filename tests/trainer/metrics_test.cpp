#include "trainer/metrics.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "kernels/core/check.h"
#include "tests/testing.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

struct MetricsTest : ::testing::Test {
  std::string directory = ::testing::TempDir() + "metrics_" +
                          ::testing::UnitTest::GetInstance()->current_test_info()->name() + std::to_string(::getpid());
  void SetUp() override {
    fs::remove_all(directory);
    fs::create_directory(directory);
  }
  void TearDown() override { fs::remove_all(directory); }

  std::string text(const char* name) const {
    std::ifstream file(directory + "/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::vector<std::string> lines(const char* name) const {
    std::istringstream stream(text(name));
    std::vector<std::string> all;
    for (std::string line; std::getline(stream, line);) all.push_back(line);
    return all;
  }
  std::vector<int64_t> steps(const char* name) const {
    std::vector<int64_t> all;
    for (const std::string& line : lines(name)) all.push_back(nlohmann::json::parse(line)["step"].get<int64_t>());
    return all;
  }
  std::vector<int64_t> csv_steps() const {
    std::vector<int64_t> all;
    for (const std::string& line : lines("metrics.csv")) {
      if (!line.starts_with("step,")) all.push_back(std::stoll(line));
    }
    return all;
  }
  void append(const char* name, std::string_view more) const {
    std::ofstream(directory + "/" + name, std::ios::app | std::ios::binary) << more;
  }
  void write_steps(int64_t after, int64_t last) const {
    MetricsLog log(directory, after, false);
    for (int64_t step = after + 1; step <= last; ++step) {
      StepMetrics metrics;
      metrics.step = step;
      metrics.loss = 1.0 / static_cast<double>(step);
      log.write(metrics);
      if (step % 5 == 0) log.event(step, "save", {{"bytes", int64_t{10}}, {"path", "a\"b"}, {"seconds", 0.5}});
    }
    log.sync();
  }
};

std::vector<int64_t> count_to(int64_t last) {
  std::vector<int64_t> all;
  for (int64_t i = 1; i <= last; ++i) all.push_back(i);
  return all;
}

TEST_F(MetricsTest, OneProcessWritesARun) {
  {
    const FileLock lock = lock_run(directory);
    EXPECT_THROW(lock_run(directory), Error);
  }
  EXPECT_NO_THROW(lock_run(directory));
}

TEST_F(MetricsTest, BothFilesHoldTheSameColumnsAndValues) {
  MetricsLog log(directory, 0, false);
  StepMetrics metrics;
  metrics.step = 3;
  metrics.tokens = int64_t{1} << 60;
  metrics.loss = 0.1;
  metrics.engram_unique = 1.0 / 3.0;
  log.write(metrics);  // on disk at once, before the log is closed
  const auto csv = lines("metrics.csv");
  ASSERT_EQ(csv.size(), 2u);
  const auto object = nlohmann::ordered_json::parse(lines("metrics.jsonl").at(0));
  std::string names, values;
  for (const auto& [name, value] : object.items()) {
    names += (names.empty() ? "" : ",") + name;
    const std::string cell = value.is_null() ? "" : value.dump();
    values += (name == "step" ? "" : ",") + cell;
  }
  EXPECT_EQ(csv[0], names);
  EXPECT_EQ(csv[1], values);
  EXPECT_EQ(object["loss"].get<double>(), 0.1);
  EXPECT_EQ(object["engram.unique"].get<double>(), 1.0 / 3.0);
  EXPECT_EQ(object["tokens"].get<int64_t>(), int64_t{1} << 60);
  EXPECT_TRUE(object["experts.max_over_mean"].is_null());
}

TEST_F(MetricsTest, ResumeLeavesNoStepTwiceAndNoneOut) {
  write_steps(0, 23);
  EXPECT_EQ(steps("events.jsonl"), (std::vector<int64_t>{5, 10, 15, 20}));
  write_steps(15, 31);  // back to the checkpoint of step 15
  EXPECT_EQ(steps("metrics.jsonl"), count_to(31));
  EXPECT_EQ(csv_steps(), count_to(31));
  EXPECT_EQ(steps("events.jsonl"), (std::vector<int64_t>{5, 10, 15, 20, 25, 30}));
}

TEST_F(MetricsTest, FindsAnEventAmongLinesOfOtherWriters) {
  MetricsLog log(directory, 0, false);
  append("events.jsonl", "{\"step\": 1}\n{\"event\": \"note\"}\n[]\n");
  log.event(2, "eval");
  EXPECT_TRUE(log.has_event(2, "eval"));
  EXPECT_FALSE(log.has_event(1, "eval"));
  EXPECT_FALSE(log.has_event(2, "save"));
}

TEST_F(MetricsTest, TornLinesGo) {
  write_steps(0, 10);
  append("metrics.jsonl", R"({"step":11,"loss":0.)");
  append("metrics.csv", "11,0.");
  append("events.jsonl", "{");
  EXPECT_EQ(truncate_to(directory, 1000), 10);
  EXPECT_EQ(steps("metrics.jsonl"), count_to(10));
  EXPECT_EQ(csv_steps(), count_to(10));
  EXPECT_EQ(truncate_to(directory, 4), 4);
  EXPECT_EQ(steps("metrics.jsonl"), count_to(4));
  EXPECT_EQ(csv_steps(), count_to(4));
  EXPECT_TRUE(steps("events.jsonl").empty());
}

TEST_F(MetricsTest, ATornHeaderIsWrittenAgain) {
  append("metrics.csv", "step,tok");
  write_steps(0, 2);
  EXPECT_EQ(csv_steps(), count_to(2));
  EXPECT_TRUE(lines("metrics.csv")[0].starts_with("step,tokens,loss,"));
}

TEST_F(MetricsTest, AnOlderRunGoesOnWithTheColumnsThatItHas) {
  append("metrics.csv", "step,loss,wall\n1,2.5,0.1\n");
  append("metrics.jsonl", "{\"step\":1,\"loss\":2.5,\"wall\":0.1}\n");
  write_steps(1, 2);
  EXPECT_EQ(lines("metrics.csv"), (std::vector<std::string>{"step,loss,wall", "1,2.5,0.1", "2,0.5,"}));
  EXPECT_TRUE(nlohmann::json::parse(lines("metrics.jsonl").at(1)).contains("tokens"));
}

TEST_F(MetricsTest, StartingAnewEmptiesTheFiles) {
  write_steps(0, 7);
  write_steps(0, 3);
  EXPECT_EQ(steps("metrics.jsonl"), count_to(3));
  EXPECT_EQ(csv_steps(), count_to(3));
  EXPECT_TRUE(lines("events.jsonl").empty());
}

TEST_F(MetricsTest, TellsTheLastStep) {
  write_steps(0, 7);
  EXPECT_EQ(MetricsLog(directory, 5, false).last_step(), 5);
  EXPECT_EQ(MetricsLog(directory, 9, false).last_step(), 5);  // somebody removed lines
  EXPECT_EQ(truncate_to(directory + "/nothing_here", 5), 0);
}

TEST_F(MetricsTest, RefusesStepsOutOfOrder) {
  MetricsLog log(directory, 0, false);
  StepMetrics metrics;
  metrics.step = 1;
  log.write(metrics);
  EXPECT_THROW(log.write(metrics), Error);
  EXPECT_EQ(lines("metrics.jsonl").size(), 1u);
}

TEST_F(MetricsTest, RefusesForeignFiles) {
  fs::create_directories(directory);
  for (const char* header : {"step,other", "loss,wall", "step,wall,loss"}) {
    append("metrics.csv", std::string(header) + "\n1,2\n");
    EXPECT_THROW(MetricsLog(directory, 5, false), Error) << header;
    fs::remove_all(directory);
    fs::create_directories(directory);
  }
  fs::create_directories(directory);
  append("metrics.jsonl", "hello\n");
  EXPECT_THROW(MetricsLog(directory, 5, false), Error);
  EXPECT_EQ(text("metrics.jsonl"), "hello\n");
  EXPECT_THROW(MetricsLog("/proc/no", 0, false), Error);
}

TEST_F(MetricsTest, EventsSurviveAnyText) {
  MetricsLog log(directory, 0, false);
  log.event(0, "fault", {{"message", "line\nbreak \xff \"quoted\""}});
  const auto object = nlohmann::json::parse(lines("events.jsonl").at(0));
  EXPECT_EQ(object["event"], "fault");
  EXPECT_EQ(object["time"].get<std::string>().size(), 20u);
}

TEST_F(MetricsTest, EventsHoldLists) {
  MetricsLog log(directory, 0, true);
  log.event(1, "ngrams", {{"layers", std::vector<int64_t>{1, 7}}, {"sharing", HeadValues{{{0.5}, {0.25, 1}}}}});
  const auto object = nlohmann::json::parse(lines("events.jsonl").at(0));
  EXPECT_EQ(object["layers"], nlohmann::json::parse("[1, 7]"));
  EXPECT_EQ(object["sharing"], nlohmann::json::parse("[[[0.5], [0.25, 1.0]]]"));
}

// Files of this process end at 10 bytes while it lives.
struct SmallFiles {
  SmallFiles() {
    getrlimit(RLIMIT_FSIZE, &before);
    handler = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{.rlim_cur = 10, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
  }
  ~SmallFiles() {
    setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
  }
  rlimit before{};
  void (*handler)(int) = nullptr;
};

TEST_F(MetricsTest, WhatTheDiskRefusesComesWithLaterLines) {
  MetricsLog log(directory, 0, true, 60);
  StepMetrics metrics;
  {
    const SmallFiles small;
    metrics.step = 1;
    log.write(metrics);
    log.event(1, "save");
    metrics.step = 2;
    log.write(metrics);
  }
  EXPECT_NE(log.new_problem().find("metrics.jsonl: cannot be written: File too large"), std::string::npos);
  EXPECT_EQ(log.new_problem(), "");
  EXPECT_EQ(text("metrics.jsonl").size(), 10u);  // the beginning of a line
  metrics.step = 3;
  log.write(metrics);
  EXPECT_EQ(steps("metrics.jsonl"), count_to(3));
  EXPECT_EQ(csv_steps(), count_to(3));
  EXPECT_EQ(steps("events.jsonl"), count_to(1));
  EXPECT_EQ(log.new_problem(), "");
  EXPECT_NO_THROW(log.close());
}

TEST_F(MetricsTest, GivesUpOnADiskThatGoesOnRefusing) {
  MetricsLog log(directory, 0, false, 0.2);
  StepMetrics metrics;
  {
    const SmallFiles small;
    EXPECT_FALSE(log.gives_up());
    metrics.step = 1;
    log.write(metrics);
    EXPECT_FALSE(log.gives_up());
    const std::string message = test::error_of([&] { log.close(); });
    EXPECT_NE(message.find("are missing: " + directory + "/metrics.jsonl: cannot be written"), message.npos) << message;
    EXPECT_TRUE(log.gives_up());
  }
  metrics.step = 2;
  log.write(metrics);
  EXPECT_FALSE(log.gives_up());
  EXPECT_NO_THROW(log.close());
  EXPECT_EQ(csv_steps(), count_to(2));
}

TEST_F(MetricsTest, RefusesWhatIsNoFile) {
  fs::create_symlink("/dev/zero", directory + "/metrics.jsonl");  // would be read without end
  EXPECT_THROW(MetricsLog(directory, 0, false), Error);
}

}  // namespace
}  // namespace engram
