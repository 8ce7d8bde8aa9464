#include "trainer/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace engram {
namespace {

constexpr double kLossMemory = 0.98;
constexpr double kLongestSilence = 60.0;  // seconds; people tail batch logs
constexpr double kRedrawInterval = 0.2;

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  const auto whole = static_cast<int64_t>(std::llround(std::min(seconds, 1e15)));
  if (whole >= 86400) return fmt::format("{}d{:02}h", whole / 86400, whole % 86400 / 3600);
  if (whole >= 3600) return fmt::format("{}h{:02}m", whole / 3600, whole % 3600 / 60);
  if (whole >= 60) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  return fmt::format("{}s", whole);
}

std::string scaled_text(double value) {
  if (!std::isfinite(value)) return "?";
  constexpr std::array<const char*, 6> kUnits{"", "k", "M", "G", "T", "P"};
  size_t unit = 0;
  while (std::abs(value) >= 999.95 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  return fmt::format("{:.1f}{}", value, kUnits[unit]);
}

std::string bytes_text(int64_t num_bytes) { return scaled_text(static_cast<double>(num_bytes)) + "B"; }

Progress::Progress(std::ostream& out, Options options) : out_(out), options_(std::move(options)) {
  if (!options_.clock) options_.clock = steady_seconds;
}

bool Progress::due(const StepMetrics& metrics, double now) const {
  const double silence = now - printed_at_;
  if (steps_seen_ == 1 || metrics.step == options_.total_steps || silence >= kLongestSilence) return true;
  if (options_.terminal) return silence >= kRedrawInterval;
  const LoggingConfig& logging = options_.logging;
  if (logging.interval_steps > 0) return metrics.step % logging.interval_steps == 0;
  return silence >= logging.interval_seconds;
}

std::string Progress::line(const StepMetrics& m, double now) const {
  const bool has_interval = printed_step_ > 0 && now > printed_at_;
  const double tok_s = has_interval ? static_cast<double>(m.tokens - printed_tokens_) / (now - printed_at_) : m.tok_s;
  const double step_seconds = steps_seen_ > 1 ? (now - first_at_) / static_cast<double>(steps_seen_ - 1) : kNotMeasured;
  const double left = static_cast<double>(options_.total_steps - m.step);

  std::string text =
      fmt::format("step {:>6}/{} loss {:.4f} (ema {:.3f}) norm {:.2f} lr {:.2e} | {} tok/s", m.step,
                  options_.total_steps, m.loss, ema_sum_ / ema_weight_, m.norm, m.lr, scaled_text(tok_s));
  if (std::isfinite(m.flops)) text += fmt::format(" {}FLOP/s", scaled_text(m.flops));
  if (std::isfinite(m.data_wait)) text += fmt::format(" data {:.1f}%", 100 * m.data_wait);
  if (m.mem > 0) text += fmt::format(" | mem {}", bytes_text(m.mem));
  if (std::isfinite(m.experts_max_over_mean))
    text += fmt::format(" | experts max/mean {:.2f}", m.experts_max_over_mean);
  if (std::isfinite(m.engram_unique)) text += fmt::format(" | rows {:.1f}% unique", 100 * m.engram_unique);
  if (std::isfinite(m.engram_gate)) text += fmt::format(", gate {:.2f}", m.engram_gate);
  if (m.skipped != 0) text += " | SKIPPED";
  return text + " | eta " + duration_text(left == 0 ? 0 : left * step_seconds);
}

void Progress::print(const std::string& text) {
  if (!options_.terminal) {
    out_ << text << '\n' << std::flush;
    return;
  }
  const size_t rest = line_width_ > text.size() ? line_width_ - text.size() : 0;
  out_ << '\r' << text << std::string(rest, ' ') << std::flush;
  line_width_ = text.size();
}

void Progress::step(const StepMetrics& metrics) {
  const double now = options_.clock();
  if (++steps_seen_ == 1) first_at_ = now;
  if (std::isfinite(metrics.loss)) {
    ema_sum_ = kLossMemory * ema_sum_ + metrics.loss;
    ema_weight_ = kLossMemory * ema_weight_ + 1;
  }
  if (!due(metrics, now)) return;
  print(line(metrics, now));
  printed_step_ = metrics.step;
  printed_tokens_ = metrics.tokens;
  printed_at_ = now;
}

void Progress::note(std::string_view text) {
  if (options_.terminal && line_width_ > 0) {
    out_ << '\r' << std::string(line_width_, ' ') << '\r';
    line_width_ = 0;
  }
  out_ << text << '\n' << std::flush;
}

void Progress::finish() {
  if (options_.terminal && line_width_ > 0) out_ << '\n' << std::flush;
  line_width_ = 0;
}

}  // namespace engram
