#pragma once

#include <cstdint>
#include <thread>
#include <vector>

namespace engram {

// Calls body(begin, end) for num_threads parts of [0, count), of about equal size and each on a thread of its own; the
// first on that of the caller. body() must not throw.
template <class Body>
void for_each_part(int num_threads, int64_t count, Body&& body) {
  const auto bound = [&](int64_t part) { return count * part / num_threads; };
  std::vector<std::jthread> threads;
  for (int part = 1; part < num_threads; ++part) {
    threads.emplace_back([&, part] { body(bound(part), bound(part + 1)); });
  }
  body(0, bound(1));
}

}  // namespace engram
