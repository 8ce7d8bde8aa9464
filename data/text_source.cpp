#include "data/text_source.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "data/json_text.h"
#include "data/line_reader.h"
#include "data/utf8.h"
#include "kernels/core/check.h"

namespace engram {
namespace {

enum class TextFormat : uint8_t { kText, kJsonLines };

std::optional<TextFormat> format_of(std::string_view path) {
  path = without_compression(path);
  if (path.ends_with(".txt")) return TextFormat::kText;
  if (path.ends_with(".jsonl")) return TextFormat::kJsonLines;
  return std::nullopt;
}

std::string_view trim_line_breaks(std::string_view text) {
  const size_t first = text.find_first_not_of("\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of("\r\n") - first + 1);
}

// One pass over the files: what for_each_document() was given, and what it returns.
class Pass {
 public:
  Pass(const TextSourceOptions& options, const OnDocument& document) : options_(options), document_(document) {}

  void read(const std::string& path) {
    const bool is_json = holds_json_lines(path);
    LineReader reader(path, options_.max_line_bytes);
    const int64_t num_before = report_.num_documents;
    if (is_json)
      read_json_lines(path, reader);
    else
      read_text(path, reader);
    report_.files.push_back(
        {.path = path, .digest = reader.file().digest(), .num_documents = report_.num_documents - num_before});
  }
  TextSourceReport take_report() { return std::move(report_); }

 private:
  void read_text(const std::string& path, LineReader& reader);
  void read_json_lines(const std::string& path, LineReader& reader);
  // What is wrong with the reader's line as text; empty for nothing.
  std::string problem_of(const LineReader& reader) const;
  void reject(const std::string& path, const LineReader& reader, const std::string& problem);
  void emit(std::string_view text, const TextPlace& place);

  const TextSourceOptions& options_;
  const OnDocument& document_;
  TextSourceReport report_;
};

void Pass::read_text(const std::string& path, LineReader& reader) {
  std::string text;
  TextPlace place{path, 1};
  bool is_bad = false, has_separator = false;
  while (reader.next()) {
    std::string_view line = reader.line();
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line == options_.separator) {
      if (!is_bad) emit(trim_line_breaks(text), place);
      text.clear();
      place.line = reader.number() + 1;
      is_bad = false;
      has_separator = true;
    } else if (!is_bad) {
      const std::string problem = problem_of(reader);
      is_bad = !problem.empty();
      if (is_bad) reject(path, reader, problem);
      text.append(reader.line()).push_back('\n');
    }
  }
  const std::string_view rest = trim_line_breaks(text);
  if (!is_bad && !(has_separator && rest.empty())) emit(rest, place);
}

void Pass::read_json_lines(const std::string& path, LineReader& reader) {
  while (reader.next()) {
    if (reader.line().find_first_not_of(" \t\r") == std::string::npos) continue;
    std::string problem = problem_of(reader);
    const std::optional<std::string> text =
        problem.empty() ? json_text(reader.line(), options_.json_field, problem) : std::nullopt;
    if (text)
      emit(*text, {path, reader.number()});
    else
      reject(path, reader, problem);
  }
}

std::string Pass::problem_of(const LineReader& reader) const {
  if (reader.is_too_long()) return "line is longer than " + std::to_string(options_.max_line_bytes) + " bytes";
  if (const auto at = find_invalid_utf8(reader.line())) return "byte " + std::to_string(*at) + " is no UTF-8";
  return "";
}

void Pass::reject(const std::string& path, const LineReader& reader, const std::string& problem) {
  const std::string message = path + ":" + std::to_string(reader.number()) + ": " + problem;
  ENGRAM_CHECK(options_.on_bad_record == BadRecordPolicy::kSkip, message,
               "; `data build --on-error skip` leaves such records out");
  if (report_.num_bad_records++ == 0) report_.first_bad_record = message;
}

void Pass::emit(std::string_view text, const TextPlace& place) {
  if (text.empty()) {
    ++report_.num_empty;
    return;
  }
  ++report_.num_documents;
  report_.num_bytes += static_cast<int64_t>(text.size());
  document_(text, place);
}

}  // namespace

std::vector<std::string> expand_inputs(const std::vector<std::string>& inputs) {
  std::vector<std::string> files;
  for (const std::string& input : inputs) {
    ENGRAM_CHECK(std::filesystem::exists(input), input, ": no such file or directory");
    if (!std::filesystem::is_directory(input)) {
      files.push_back(input);
      continue;
    }
    const size_t num_before = files.size();
    for (const auto& entry : std::filesystem::directory_iterator(input)) {
      if (entry.is_regular_file() && format_of(entry.path().string())) files.push_back(entry.path());
    }
    ENGRAM_CHECK(files.size() > num_before, input, ": holds no .txt or .jsonl file");
    std::sort(files.begin() + static_cast<std::ptrdiff_t>(num_before), files.end());
  }
  return files;
}

bool holds_json_lines(const std::string& path) {
  const auto format = format_of(path);
  ENGRAM_CHECK(format, path, ": unknown kind of file; wanted .txt or .jsonl, or these with .gz, .xz or .zst");
  return *format == TextFormat::kJsonLines;
}

TextSourceReport for_each_document(const std::vector<std::string>& files, const TextSourceOptions& options,
                                   const OnDocument& document) {
  Pass pass(options, document);
  for (const std::string& file : files) pass.read(file);
  return pass.take_report();
}

}  // namespace engram
