#include "trainer/csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "kernels/core/check.h"

namespace engram {
namespace {

class CsvReader {
 public:
  CsvReader(const std::string& text, const std::string& path) : text_(text), path_(path) {}

  std::vector<CsvLine> lines() {
    std::vector<CsvLine> lines;
    while (at_ < text_.size()) lines.push_back(line());
    return lines;
  }

 private:
  CsvLine line() {
    CsvLine line{.number = number_, .cells = {}};
    do {
      cell_ = line.cells.size() + 1;
      line.cells.push_back(cell());
    } while (take(","));
    if (!take("\r\n") && !take("\n")) refuse("a comma or the end of the line");
    ++number_;
    return line;
  }

  std::string cell() {
    if (take("\"")) return rest_of_quoted();
    const size_t begin = at_;
    at_ = std::min(text_.find_first_of(",\"\r\n", at_), text_.size());
    return text_.substr(begin, at_ - begin);
  }

  std::string rest_of_quoted() {
    const int64_t begin = number_;
    std::string cell;
    while (at_ < text_.size()) {
      if (take("\"\"")) {
        cell += '"';
        continue;
      }
      if (take("\"")) return cell;
      number_ += text_[at_] == '\n' ? 1 : 0;
      cell += text_[at_++];
    }
    number_ = begin;
    refuse("the quote that ends a cell");
  }

  bool take(std::string_view what) {
    if (text_.compare(at_, what.size(), what) != 0) return false;
    at_ += what.size();
    return true;
  }

  [[noreturn]] void refuse(const char* wanted) const {
    const std::string got = at_ < text_.size() ? fmt::format("\"{}\"", text_.substr(at_, 1)) : "the end of the file";
    ENGRAM_FAIL(path_, ":", number_, ": cell ", cell_, ": got ", got, ", wanted ", wanted);
  }

  const std::string& text_;
  const std::string& path_;
  size_t at_ = 0;
  size_t cell_ = 1;
  int64_t number_ = 1;
};

// Where it needs to be.
std::string quoted(const std::string& cell) {
  if (cell.find_first_of(",\"\r\n") == std::string::npos) return cell;
  std::string text = "\"";
  for (const char c : cell) text.append(c == '"' ? 2 : 1, c);
  return text + '"';
}

}  // namespace

std::vector<CsvLine> csv_lines(const std::string& text, const std::string& path) {
  return CsvReader(text, path).lines();
}

std::string csv_line(const std::vector<std::string>& cells) {
  std::string line;
  for (const std::string& cell : cells) line += quoted(cell) + ",";
  if (!line.empty()) line.back() = '\n';
  return line;
}

}  // namespace engram
