#include <fmt/format.h>

#include <chrono>
#include <iostream>

#include "data/build_store.h"
#include "data/parallel_encoder.h"
#include "trainer/commands.h"
#include "trainer/progress.h"
#include "trainer/requests.h"

namespace engram {
namespace {

// Says now and then how far a build is, and ends it where a signal asks for that: the next one goes on.
class BuildProgress {
 public:
  void operator()(int64_t num_documents, int64_t num_bytes) {
    if (const Request request = signalled(); asks_to_leave(request)) throw Interrupted(request);
    constexpr double kInterval = 10;
    const double now = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    if (now < told_at_ + kInterval) return;
    told_at_ = now;
    const auto bytes = static_cast<double>(num_bytes);
    std::cerr << fmt::format("{} documents, {}B of text, {}B/s\n", num_documents, scaled_text(bytes),
                             scaled_text(bytes / now));
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  double told_at_ = 0;
};

void print_store(const char* what, const StoreSummary& store) {
  if (store.path.empty()) return;
  std::cout << fmt::format("{}: {} ({} documents, {} tokens, digest {})\n", what, store.path, store.num_documents,
                           store.num_tokens, store.digest);
}

}  // namespace

void run_data_build(const DataBuildCommand& command) {
  const BpeTokenizer tokenizer = BpeTokenizer::load(command.tokenizer);
  const auto end_of_text = tokenizer.end_of_text();
  ENGRAM_CHECK(end_of_text, command.tokenizer, ": has no end-of-text token (<|endoftext|> or the like)");
  ParallelEncoder encoder(tokenizer, num_encoder_threads(command.threads), AddedTokenPolicy::kText);
  const StoreEncoder store_encoder{.encode = [&](std::span<const std::string> texts) { return encoder.encode(texts); },
                                   .tokenizer_digest = tokenizer.digest(),
                                   .vocab_size = tokenizer.vocabulary_size(),
                                   .eos_id = *end_of_text};
  BuildOptions options;
  options.inputs = command.inputs;
  options.text.json_field = command.text_field;
  options.text.on_bad_record = command.skip_bad ? BadRecordPolicy::kSkip : BadRecordPolicy::kStop;
  options.output = command.output;
  options.holdout_fraction = command.holdout;
  options.holdout_output = command.holdout_output;
  options.seed = static_cast<uint64_t>(command.seed);
  options.progress = BuildProgress();
  const BuildSummary summary = build_token_store(options, store_encoder);
  print_store("store", summary.train);
  print_store("held out", summary.holdout);
  const TextSourceReport& text = summary.text;
  std::cout << fmt::format("read {} documents, {} bytes of text, {} empty documents and {} bad records left out\n",
                           text.num_documents, text.num_bytes, text.num_empty, text.num_bad_records);
  if (text.num_bad_records > 0) std::cout << "first bad record: " << text.first_bad_record << "\n";
  if (summary.num_kept > 0) {
    std::cout << fmt::format("{} documents had been encoded by a build that was ended early\n", summary.num_kept);
  }
}

}  // namespace engram
