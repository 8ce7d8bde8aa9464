#include "tests/data/temporary_directory.h"
#include "tests/fuzz/fuzz.h"
#include "trainer/sweep_tables.h"

// A results.csv in place of a sweep's directory: what is taken is written as lines that say the same.
namespace engram::fuzz {

bool reads(std::string_view input) {
  static const test::TemporaryDirectory kDirectory;
  const std::string path = kDirectory / "results.csv";
  test::write_file(path, std::string(input));
  std::string text;
  if (!accepts([&] { text = results_csv(read_results_csv(path)); })) return false;
  test::write_file(path, text);
  must_hold(results_csv(read_results_csv(path)) == text, "trials are read as they were written");
  return true;
}

}  // namespace engram::fuzz
