#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <iostream>

#include "data/parallel_encoder.h"
#include "data/text_source.h"
#include "trainer/commands.h"

namespace engram {
namespace {

// Encodes documents a batch at a time and prints their ids.
class Printer {
 public:
  explicit Printer(ParallelEncoder& encoder) : encoder_(encoder) {}

  void add(std::string_view text) {
    batch_.emplace_back(text);
    batch_bytes_ += text.size();
    if (batch_bytes_ >= kBatchBytes) flush();
  }

  void flush() {
    const auto start = std::chrono::steady_clock::now();
    const std::clock_t cpu_start = std::clock();
    const std::vector<std::vector<int32_t>> ids = encoder_.encode(batch_);
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    cpu_seconds_ += static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
    for (const std::vector<int32_t>& document : ids) {
      std::string line;
      for (const int32_t id : document) line.append(line.empty() ? 0 : 1, ' ').append(std::to_string(id));
      std::cout << line << '\n';
      num_tokens_ += static_cast<int64_t>(document.size());
    }
    batch_.clear();
    batch_bytes_ = 0;
  }

  int64_t num_tokens() const { return num_tokens_; }
  double seconds() const { return seconds_; }          // spent encoding
  double cpu_seconds() const { return cpu_seconds_; }  // the same in processor time, over all threads

 private:
  static constexpr size_t kBatchBytes = size_t{16} << 20;
  ParallelEncoder& encoder_;
  std::vector<std::string> batch_;
  size_t batch_bytes_ = 0;
  int64_t num_tokens_ = 0;
  double seconds_ = 0, cpu_seconds_ = 0;
};

}  // namespace

void run_data_tokenize(const DataTokenizeCommand& command) {
  const BpeTokenizer tokenizer = BpeTokenizer::load(command.tokenizer);
  const int64_t num_threads = num_encoder_threads(command.threads);
  ParallelEncoder encoder(tokenizer, num_threads,
                          command.added_tokens ? AddedTokenPolicy::kFind : AddedTokenPolicy::kText);
  Printer printer(encoder);
  TextSourceOptions options;
  options.json_field = command.text_field;
  const TextSourceReport report = for_each_document(
      expand_inputs(command.inputs), options, [&](std::string_view text, const TextPlace&) { printer.add(text); });
  printer.flush();
  std::cout.flush();
  const double megabytes = static_cast<double>(report.num_bytes) / 1e6;
  std::cerr << fmt::format(
      "{} documents, {:.2f} MB, {} tokens; encoded in {:.2f} s by {} threads ({:.2f} s of processor time), {:.1f} "
      "MB/s\n",
      report.num_documents, megabytes, printer.num_tokens(), printer.seconds(), num_threads, printer.cpu_seconds(),
      megabytes / std::max(printer.seconds(), 1e-9));
}

}  // namespace engram
