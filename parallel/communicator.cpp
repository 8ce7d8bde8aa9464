#include "parallel/communicator.h"

#include <algorithm>
#include <exception>
#include <system_error>

#include "parallel/fold.h"

namespace engram {
namespace {

template <class T>
Tensor tensor_over(std::span<T> values) {
  return {values.data(), dtype_of<T>, {std::ssize(values)}};
}

// The values of rank 0, then those of rank 1, ...
template <class T>
std::vector<T> gather(Communicator& group, std::span<T> mine) {
  Stream stream = CpuQueue{};
  std::vector<T> all(mine.size() * static_cast<size_t>(group.size()));
  group.all_gather(stream, tensor_over(mine), tensor_over(std::span(all))).wait();
  return all;
}

// std::max would drop a NaN on one side.
template <class T>
T larger(T a, T b) {
  return a != a || a >= b ? a : b;
}

}  // namespace

Pending::~Pending() {
  assert(!finish_ || std::uncaught_exceptions() > 0);  // a transfer was issued and nobody waited for it
}

template <class T>
void all_reduce_sum(Communicator& group, std::span<T> values) {
  const std::vector<T> all = gather(group, values);
  std::vector<const void*> parts;
  for (size_t begin = 0; parts.size() < static_cast<size_t>(group.size()); begin += values.size()) {
    parts.push_back(all.data() + begin);
  }
  fold_sum(dtype_of<T>, parts, values.data(), std::ssize(values));
}

template <class T>
void all_reduce_max(Communicator& group, std::span<T> values) {
  const std::vector<T> all = gather(group, values);
  std::copy(all.begin(), all.begin() + std::ssize(values), values.begin());
  for (size_t i = values.size(); i < all.size(); ++i) {
    T& best = values[i % values.size()];
    best = larger(best, all[i]);
  }
}

template void all_reduce_sum(Communicator&, std::span<int64_t>);
template void all_reduce_sum(Communicator&, std::span<float>);
template void all_reduce_sum(Communicator&, std::span<double>);
template void all_reduce_max(Communicator&, std::span<int64_t>);
template void all_reduce_max(Communicator&, std::span<float>);
template void all_reduce_max(Communicator&, std::span<double>);

std::string broadcast_text(Communicator& group, const std::string& text) {
  Stream stream = CpuQueue{};
  int64_t length = std::ssize(text);
  group.broadcast(stream, tensor_over(std::span(&length, 1)), 0).wait();
  std::string result = text;
  result.resize(static_cast<size_t>(length));
  group.broadcast(stream, Tensor(result.data(), DType::kUInt8, {length}), 0).wait();
  return result;
}

std::vector<std::string> gather_texts(Communicator& group, const std::string& text) {
  int64_t length = std::ssize(text);
  const std::vector<int64_t> lengths = gather(group, std::span(&length, 1));
  const int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  std::vector<std::string> texts(lengths.size());
  if (longest == 0) return texts;

  std::vector<uint8_t> padded(static_cast<size_t>(longest));
  std::copy(text.begin(), text.end(), padded.begin());
  const std::vector<uint8_t> all = gather(group, std::span(padded));
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    const auto begin = all.begin() + static_cast<int64_t>(rank) * longest;
    texts[rank].assign(begin, begin + lengths[rank]);
  }
  return texts;
}

void vote(Communicator& group, const std::string& problem) {
  const std::vector<std::string> problems = gather_texts(group, problem);
  if (!problem.empty()) throw Error(problem);
  const auto first = std::find_if(problems.begin(), problems.end(), [](const auto& text) { return !text.empty(); });
  if (first == problems.end()) return;
  throw PeerFailed("rank " + std::to_string(first - problems.begin()) + ": " + *first);
}

void together(Communicator& group, const std::function<void()>& body) {
  std::string problem;
  std::exception_ptr own;
  try {
    body();
  } catch (const std::system_error& error) {
    problem = error.what();
    own = std::make_exception_ptr(IoError(problem));
  } catch (const std::exception& error) {
    problem = error.what();
    own = std::current_exception();
  }
  try {
    vote(group, problem);
  } catch (const Error&) {
    if (own) std::rethrow_exception(own);
    throw;
  }
}

}  // namespace engram
