#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>

#include "trainer/metrics.h"
#include "trainer/run_config.h"

namespace engram {

// "2h05m", "3m07s", "41s"; "?" where unknown (negative or not finite).
std::string duration_text(double seconds);

// 412.3k, 1.2M, 17.0; three digits before the point at most.
std::string scaled_text(double value);
// The same with a B for bytes.
std::string bytes_text(int64_t num_bytes);

// The progress line of a run; one rank has one. On a terminal one line is redrawn in place; elsewhere whole plain lines
// are written, one per interval, without carriage return or colour.
class Progress {
 public:
  using Clock = std::function<double()>;  // seconds, monotonic

  struct Options {
    LoggingConfig logging;
    int64_t total_steps = 0;
    bool terminal = false;
    Clock clock;  // empty = the machine's steady clock
  };
  Progress(std::ostream& out, Options options);

  // Call after each step. Prints on the first and last step of the run and whenever the interval has passed, at the
  // latest after 60 s; on a terminal up to five times a second.
  void step(const StepMetrics& metrics);

  // Prints `text` as a line of its own; a status line being redrawn moves below it.
  void note(std::string_view text);

  // Ends the status line.
  void finish();

 private:
  bool due(const StepMetrics& metrics, double now) const;
  std::string line(const StepMetrics& metrics, double now) const;
  void print(const std::string& text);

  std::ostream& out_;
  Options options_;
  int64_t steps_seen_ = 0;    // of this process
  int64_t printed_step_ = 0;  // last step printed
  int64_t printed_tokens_ = 0;
  double printed_at_ = 0;
  double first_at_ = 0;  // clock after the first step of this process
  double ema_sum_ = 0;   // loss, weights 0.98^age
  double ema_weight_ = 0;
  size_t line_width_ = 0;  // characters of the status line on screen
};

}  // namespace engram
