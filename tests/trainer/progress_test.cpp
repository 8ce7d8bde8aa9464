#include "trainer/progress.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

namespace engram {
namespace {

struct ProgressTest : ::testing::Test {
  std::ostringstream out;
  double now = 100;

  Progress progress(LoggingConfig logging, int64_t total_steps, bool terminal = false) {
    return Progress(
        out, {.logging = logging, .total_steps = total_steps, .terminal = terminal, .clock = [this] { return now; }});
  }
  static StepMetrics metrics(int64_t step) {
    StepMetrics m;
    m.step = step;
    m.tokens = step * 1000;
    m.loss = 3.5;
    m.norm = 0.82;
    m.lr = 3e-4;
    m.tok_s = 500;
    return m;
  }
  int64_t num_lines() const {
    const std::string text = out.str();
    return std::count(text.begin(), text.end(), '\n');
  }
};

TEST_F(ProgressTest, OneLineHoldsEverything) {
  Progress line = progress({.interval_steps = 1, .interval_seconds = 10}, 50000);
  StepMetrics m = metrics(1200);
  m.flops = 12.34e9;
  m.experts_max_over_mean = 1.18;
  m.engram_unique = 0.412;
  m.engram_gate = 0.37;
  line.step(m);
  EXPECT_EQ(
      out.str(),
      "step   1200/50000 loss 3.5000 (ema 3.500) norm 0.82 lr 3.00e-04 | 500.0 tok/s 12.3GFLOP/s | experts max/mean "
      "1.18 | rows 41.2% unique, gate 0.37 | eta ?\n");
}

TEST_F(ProgressTest, RatesAndEtaAreOfTheInterval) {
  Progress line = progress({.interval_steps = 2, .interval_seconds = 10}, 10);
  for (int64_t step = 1; step <= 4; ++step) {
    line.step(metrics(step));
    now += 2;
  }
  EXPECT_EQ(num_lines(), 3);  // steps 1, 2, 4
  const std::string last = out.str().substr(out.str().rfind("step "));
  EXPECT_NE(last.find("| 500.0 tok/s |"), std::string::npos) << last;  // 2000 tokens in 4 s
  EXPECT_NE(last.find("eta 12s"), std::string::npos) << last;
}

TEST_F(ProgressTest, IntervalInSeconds) {
  Progress line = progress({.interval_steps = 0, .interval_seconds = 10}, 1000);
  for (int64_t step = 1; step <= 100; ++step) {
    line.step(metrics(step));
    now += 1;
  }
  EXPECT_EQ(num_lines(), 10);
}

TEST_F(ProgressTest, NeverSilentForMoreThanAMinute) {
  Progress line = progress({.interval_steps = 1000, .interval_seconds = 10}, 100000);
  for (int64_t step = 1; step <= 13; ++step) {
    line.step(metrics(step));
    now += 30;
  }
  EXPECT_EQ(num_lines(), 7);
}

TEST_F(ProgressTest, LastStepIsAlwaysShown) {
  Progress line = progress({.interval_steps = 1000, .interval_seconds = 10}, 5);
  for (int64_t step = 1; step <= 5; ++step) line.step(metrics(step));
  EXPECT_EQ(num_lines(), 2);
  EXPECT_NE(out.str().find("step      5/5 "), std::string::npos);
  EXPECT_NE(out.str().find("eta 0s\n"), std::string::npos);
}

TEST_F(ProgressTest, PlainOffTheTerminal) {
  Progress line = progress({.interval_steps = 1, .interval_seconds = 10}, 10000);
  StepMetrics m = metrics(1);
  m.flops = 1e12;
  m.mem = 1 << 30;
  m.data_wait = 0.01;
  m.experts_max_over_mean = m.engram_unique = m.engram_gate = 0.5;
  line.step(m);
  line.note("a note");
  line.finish();
  EXPECT_EQ(out.str().find_first_of("\r\x1b"), std::string::npos);
  EXPECT_TRUE(out.str().ends_with("a note\n"));
  EXPECT_LT(out.str().size() * 5000, 1'000'000u);  // a line every other step of 10,000 stays below 1 MB
}

TEST_F(ProgressTest, RedrawnOnATerminal) {
  Progress line = progress({.interval_steps = 1, .interval_seconds = 10}, 10000, /*terminal=*/true);
  for (int64_t step = 1; step <= 100; ++step) {
    line.step(metrics(step));
    now += 0.01;
  }
  const std::string drawn = out.str();
  EXPECT_EQ(num_lines(), 0);
  EXPECT_EQ(std::count(drawn.begin(), drawn.end(), '\r'), 5);
  line.note("checkpoint written");
  EXPECT_NE(out.str().find("\rcheckpoint written\n"), std::string::npos);
  line.step(metrics(10000));
  line.finish();
  EXPECT_TRUE(out.str().ends_with("eta 0s\n"));
}

TEST_F(ProgressTest, SkippedStepsAreNamedAndKeepTheAverage) {
  Progress line = progress({.interval_steps = 1, .interval_seconds = 10}, 10);
  line.step(metrics(1));
  StepMetrics bad = metrics(2);
  bad.loss = kNotMeasured;
  bad.skipped = 1;
  line.step(bad);
  EXPECT_NE(out.str().find("loss nan (ema 3.500)"), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("| SKIPPED |"), std::string::npos);
}

TEST(ProgressText, DurationsAndScales) {
  EXPECT_EQ(duration_text(0), "0s");
  EXPECT_EQ(duration_text(59.6), "1m00s");
  EXPECT_EQ(duration_text(187), "3m07s");
  EXPECT_EQ(duration_text(11520), "3h12m");
  EXPECT_EQ(duration_text(2 * 86400 + 3600), "2d01h");
  EXPECT_EQ(duration_text(-1), "?");
  EXPECT_EQ(duration_text(kNotMeasured), "?");
  EXPECT_EQ(scaled_text(17), "17.0");
  EXPECT_EQ(scaled_text(412345), "412.3k");
  EXPECT_EQ(scaled_text(999.96), "1.0k");
  EXPECT_EQ(scaled_text(1.24e6), "1.2M");
  EXPECT_EQ(scaled_text(kNotMeasured), "?");
}

}  // namespace
}  // namespace engram
