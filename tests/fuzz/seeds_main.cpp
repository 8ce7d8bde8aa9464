#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include "tests/fuzz/fuzz.h"

// Reads every seed of a folder and seeded mutations of it, each in a process of its own:
//
//   NAME_fuzz SEEDS [--may-die]
//
// Seeds named bad* must be refused, the others taken. With --may-die a few mutations may kill their process: HDF5 1.10
// does not survive every file whose checksums are right. scripts/fuzz.sh tells such deaths from ours.

namespace {

namespace fs = std::filesystem;

constexpr int kMutations = 100;  // of each seed
constexpr int kPerDeath = 20;    // mutations for each that may die where a few may; of 400 checkpoints, 3 did

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  // One to four changes: bytes that are flipped, overwritten, put in, cut out or repeated elsewhere.
  std::string mutation_of(std::string text) {
    for (size_t i = 0, count = 1 + below(4); i < count; ++i) change(text);
    return text;
  }

 private:
  void change(std::string& text) {
    if (text.empty()) text.push_back('x');
    const size_t at = below(text.size()), length = 1 + below(std::min<size_t>(64, text.size() - at));
    switch (below(6)) {
      case 0:
        text[at] = static_cast<char>(text[at] ^ 1 << below(8));
        break;
      case 1:
        text[at] = random_byte();
        break;
      case 2:
        for (size_t i = 0; i < 8; ++i) text.insert(text.begin() + static_cast<std::ptrdiff_t>(at), random_byte());
        break;
      case 3:
        text.erase(at, length);
        break;
      case 4:
        text.insert(below(text.size()), text.substr(at, length));
        break;
      default:
        text.resize(at);
    }
  }
  char random_byte() { return static_cast<char>(below(256)); }
  size_t below(size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(random_); }

  std::mt19937_64 random_;
};

std::string contents_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

enum class Outcome : int { kTaken = 10, kRefused, kOtherException, kDied };

Outcome outcome_of_reading(const std::string& text) {
  try {
    return engram::fuzz::reads(text) ? Outcome::kTaken : Outcome::kRefused;
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return Outcome::kOtherException;
  }
}

Outcome read_in_child(const std::string& text) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    ::_exit(static_cast<int>(outcome_of_reading(text)));
  }
  int status = 0;
  const bool has_ended = child > 0 && ::waitpid(child, &status, 0) == child && WIFEXITED(status);
  return has_ended && WEXITSTATUS(status) >= 10 ? static_cast<Outcome>(WEXITSTATUS(status)) : Outcome::kDied;
}

struct Counts {
  int seeds = 0, wrong = 0;  // wrong: inputs that are not read as they shall be
  int deaths = 0;            // of mutations
};

void read_seed(const fs::path& path, bool may_die, Counts& counts) {
  const std::string text = contents_of(path), name = path.filename();
  const Outcome wanted = name.starts_with("bad") ? Outcome::kRefused : Outcome::kTaken;
  ++counts.seeds;
  const auto wrong = [&](int mutation, const char* what) {
    std::cerr << name << ", mutation " << mutation << ": " << what << "\n";
    ++counts.wrong;
  };
  if (read_in_child(text) != wanted) wrong(0, "is not read as its name says");
  for (int i = 1; i <= kMutations; ++i) {
    const Outcome outcome = read_in_child(Mutator(static_cast<uint64_t>(i)).mutation_of(text));
    if (outcome == Outcome::kOtherException) wrong(i, "ends with an exception that is none for bad input");
    counts.deaths += outcome == Outcome::kDied;
    if (outcome == Outcome::kDied && !may_die) wrong(i, "kills the process");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bool may_die = argc == 3 && std::string_view(argv[2]) == "--may-die";
  if (argc != 2 && !may_die) {
    std::cerr << "wanted: " << argv[0] << " SEEDS [--may-die]\n";
    return 2;
  }
  engram::fuzz::reads("");  // what a target keeps is made here, once
  Counts counts;
  for (const auto& seed : fs::directory_iterator(argv[1])) read_seed(seed.path(), may_die, counts);
  const int most_deaths = counts.seeds * kMutations / kPerDeath;
  std::cout << counts.seeds << " seeds, " << kMutations << " mutations of each; wrong: " << counts.wrong
            << ", deaths: " << counts.deaths << "\n";
  if (counts.deaths > most_deaths) std::cerr << "wanted at most " << most_deaths << " deaths\n";
  return counts.seeds > 0 && counts.wrong == 0 && counts.deaths <= most_deaths ? 0 : 1;
}
