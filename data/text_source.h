#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace engram {

enum class BadRecordPolicy : uint8_t { kStop, kSkip };

struct TextSourceOptions {
  std::string separator = "<|endoftext|>";  // a line that ends a document of a .txt file
  std::string json_field = "text";          // of each line of a .jsonl file
  BadRecordPolicy on_bad_record = BadRecordPolicy::kStop;
  int64_t max_line_bytes = int64_t{64} << 20;
};

// Where a document begins.
struct TextPlace {
  const std::string& file;
  int64_t line = 0;  // counted from 1
};

using OnDocument = std::function<void(std::string_view text, const TextPlace& place)>;

// A file that was read.
struct TextFileReport {
  std::string path;
  std::string digest;  // XXH3-128 of its bytes
  int64_t num_documents = 0;
};

struct TextSourceReport {
  std::vector<TextFileReport> files;
  int64_t num_documents = 0;
  int64_t num_empty = 0;         // documents without text, left out
  int64_t num_bad_records = 0;   // left out under kSkip
  int64_t num_bytes = 0;         // of the documents' text
  std::string first_bad_record;  // "file:line: what"
};

// The files themselves, and in place of a directory the .txt and .jsonl files in it (compressed ones too), by name.
// Throws Error for a missing file, an unknown suffix, or a directory without such files.
std::vector<std::string> expand_inputs(const std::vector<std::string>& inputs);

// Whether a file holds JSON lines, or else text, by the ending of its name, that of a compression aside. Throws Error
// for other endings.
bool holds_json_lines(const std::string& path);

// Calls document(text, place) for every document of the files, in order.
//   .txt    documents lie between separator lines; a file without one is one document. Line breaks at a document's two
//           ends are dropped.
//   .jsonl  one JSON object a line, the text in its field json_field; blank lines are passed over.
// Either may be compressed (.gz, .xz, .zst after its suffix, see TextFile).
// A record that is no UTF-8, no JSON object with that field, or longer than max_line_bytes is bad: under kStop an Error
// "file:line: what" is thrown, under kSkip its document is left out and counted. Text beside a bad line of a .txt file
// goes with it up to the separators. The Error of an unreadable file is thrown under either policy.
TextSourceReport for_each_document(const std::vector<std::string>& files, const TextSourceOptions& options,
                                   const OnDocument& document);

}  // namespace engram
