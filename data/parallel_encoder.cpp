#include "data/parallel_encoder.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <exception>
#include <thread>

namespace engram {

int64_t num_encoder_threads(int64_t asked) {
  return asked > 0 ? asked : std::max<int64_t>(1, std::thread::hardware_concurrency());
}

ParallelEncoder::ParallelEncoder(const BpeTokenizer& tokenizer, int64_t num_threads, AddedTokenPolicy policy)
    : policy_(policy) {
  assert(num_threads >= 1);
  for (int64_t i = 0; i < num_threads; ++i) encoders_.emplace_back(tokenizer);
}

std::vector<std::vector<int32_t>> ParallelEncoder::encode(std::span<const std::string> texts) {
  std::vector<std::vector<int32_t>> ids(texts.size());
  std::vector<std::exception_ptr> errors(texts.size());
  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  // Texts are taken in order: all before one that fails are encoded too, and the first error is the same every time.
  const auto work = [&](BpeEncoder& encoder) {
    while (!failed) {
      const size_t i = next++;
      if (i >= texts.size()) return;
      try {
        encoder.encode(texts[i], ids[i], policy_);
      } catch (...) {
        errors[i] = std::current_exception();
        failed = true;
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (size_t i = 1; i < std::min(encoders_.size(), texts.size()); ++i) {
      threads.emplace_back(work, std::ref(encoders_[i]));
    }
    work(encoders_[0]);
  }
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  return ids;
}

}  // namespace engram
