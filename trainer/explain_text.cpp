#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "data/utf8.h"
#include "trainer/explain.h"

namespace engram {
namespace {

constexpr const char* kBold = "1";
constexpr const char* kFaint = "2";
constexpr std::array<const char*, 4> kOrderColors{"36", "35", "33", "32"};  // cyan, magenta, yellow, green; and again
constexpr const char* kUnseen = "\u2205";                                   // empty set

// Black on white for a gate that is shut, on red for one that is open.
std::string shade(double gate) {
  constexpr std::array<int, 6> kShades{231, 224, 217, 210, 203, 196};  // of the 256 colours
  const auto last = static_cast<double>(kShades.size() - 1);
  const auto level = static_cast<size_t>(std::clamp(std::round(gate * last), 0.0, last));
  return fmt::format("38;5;16;48;5;{}", kShades[level]);
}

// On one line: line breaks, control characters and bytes that are no UTF-8 as escapes.
std::string printable(std::string_view text) {
  std::string result;
  const auto escape = [&](char byte) { result += fmt::format("\\x{:02X}", static_cast<unsigned char>(byte)); };
  while (!text.empty()) {
    const std::string_view whole = text.substr(0, find_invalid_utf8(text).value_or(text.size()));
    for (const char byte : whole) {
      if (byte == '\n')
        result += "\\n";
      else if (byte == '\t')
        result += "\\t";
      else if (static_cast<unsigned char>(byte) < 0x20 || byte == 0x7F)
        escape(byte);
      else
        result += byte;
    }
    text.remove_prefix(whole.size());
    if (text.empty()) break;
    escape(text[0]);
    text.remove_prefix(1);
  }
  return result;
}

std::string bar(double share) {
  constexpr int kCells = 20;
  const int full = static_cast<int>(std::lround(std::clamp(share, 0.0, 1.0) * kCells));
  std::string cells;
  for (int i = 0; i < kCells; ++i) cells += i < full ? "\u2588" : "\u2591";
  return cells;
}

std::string joined(const std::vector<int64_t>& values) {
  std::string text;
  for (const int64_t value : values) text += (text.empty() ? "" : ", ") + std::to_string(value);
  return text;
}

class Writer {
 public:
  Writer(const Explanation& explanation, const RunTokenizer& tokenizer, bool colored)
      : e_(explanation), tokenizer_(tokenizer), colored_(colored) {
    for (const int32_t key : tokenizer.vocabulary.map()) ++ids_of_key_[key];
    for (const NgramLayer& layer : e_.layout.layers) {
      layer_width_ = std::max(layer_width_, std::to_string(layer.layer).size());
      row_width_ = std::max(row_width_, std::to_string(layer.num_rows - 1).size());
    }
  }

  std::string text() {
    write_header();
    if (colored_ && !e_.gates.empty()) write_shaded_text();
    size_t start = 0;
    for (size_t i = 0; i < e_.tokens.size(); ++i) {
      if (e_.starts[i] != 0) start = i;
      text_ += i > 0 && start == i ? paint(kFaint, "\n     a new document: nothing before it is seen\n") : "\n";
      write_token(i);
      write_rows(i, i - start + 1);
      write_gates(i);
    }
    return std::move(text_);
  }

 private:
  std::string paint(std::string_view code, std::string_view text) const {
    return colored_ ? fmt::format("\033[{}m{}\033[0m", code, text) : std::string(text);
  }
  std::string label(const NgramLayer& layer) const {
    return paint(kFaint, fmt::format("layer {:>{}}", layer.layer, layer_width_));
  }

  void write_header() {
    std::vector<int64_t> layers, table_rows;
    for (const NgramLayer& layer : e_.layout.layers) {
      layers.push_back(layer.layer);
      table_rows.push_back(layer.num_rows);
    }
    text_ += fmt::format("{} tokens; the tokenizer's {} ids are {} keys\n", e_.tokens.size(),
                         tokenizer_.vocabulary.vocabulary_size(), tokenizer_.vocabulary.num_keys());
    text_ += fmt::format("n-grams of 2 to {} tokens, {} heads each; memory in layers {}, with tables of {} rows\n",
                         e_.layout.max_order, e_.layout.heads, joined(layers), joined(table_rows));
    text_ += fmt::format("{}: not seen, before the start of the document\n", kUnseen);
  }

  void write_shaded_text() {
    for (size_t l = 0; l < e_.gates.size(); ++l) {
      text_ += fmt::format("\n{}  ", label(e_.layout.layers[l]));
      for (size_t i = 0; i < e_.tokens.size(); ++i) {
        text_ += paint(shade(e_.gates[l][i]), printable(tokenizer_.tokenizer.bytes(e_.tokens[i])));
      }
    }
    text_ += fmt::format("\n{}{}{}\n", paint(kFaint, "shaded by the gate: "), paint(shade(0), " shut "),
                         paint(shade(1), " open "));
  }

  void write_token(size_t i) {
    const std::string piece = printable(tokenizer_.tokenizer.bytes(e_.tokens[i]));
    const int64_t num_ids = ids_of_key_.at(e_.keys[i]);
    text_ += fmt::format("{:>3}  {}  id {}, key {} \"{}\"{}\n", i, paint(kBold, fmt::format("\"{}\"", piece)),
                         e_.tokens[i], e_.keys[i], key_text(i),
                         num_ids == 1 ? "" : paint(kFaint, fmt::format(", which {} ids share", num_ids)));
  }

  // A line per order and layer; num_visible: tokens from the segment's start to this one.
  void write_rows(size_t i, size_t num_visible) {
    const auto heads = static_cast<size_t>(e_.layout.heads);
    for (size_t order = 2; order <= static_cast<size_t>(e_.layout.max_order); ++order) {
      const char* color = kOrderColors[(order - 2) % kOrderColors.size()];
      for (size_t l = 0; l < e_.rows.size(); ++l) {
        const size_t first = (i * (static_cast<size_t>(e_.layout.max_order) - 1) + order - 2) * heads;
        std::string rows;
        for (size_t head = 0; head < heads; ++head) {
          rows += fmt::format(" {:>{}}", e_.rows[l][first + head], row_width_);
        }
        text_ += fmt::format("     {}  {}  {}", l == 0 ? fmt::format("{}-gram", order) : "      ",
                             label(e_.layout.layers[l]), paint(color, "rows" + rows));
        if (l == 0) text_ += fmt::format("   {}", paint(color, ngram_text(i, order, num_visible)));
        text_ += '\n';
      }
    }
  }

  void write_gates(size_t i) {
    for (size_t l = 0; l < e_.gates.size(); ++l) {
      text_ += fmt::format("     {}  {}  {:.3f} {}\n", l == 0 ? "gate  " : "      ", label(e_.layout.layers[l]),
                           e_.gates[l][i], bar(e_.gates[l][i]));
    }
  }

  std::string key_text(size_t i) const { return printable(compression_key(tokenizer_.tokenizer, e_.tokens[i])); }

  // The keys of an n-gram, oldest first.
  std::string ngram_text(size_t i, size_t order, size_t num_visible) const {
    std::string text;
    for (size_t back = order; back-- > 0;) {
      const std::string key = back < num_visible ? key_text(i - back) : kUnseen;
      text += (text.empty() ? "" : " \u00B7 ") + (key == " " ? "\u2423" : key);
    }
    return text;
  }

  const Explanation& e_;
  const RunTokenizer& tokenizer_;
  const bool colored_;
  std::map<int32_t, int64_t> ids_of_key_;
  size_t layer_width_ = 0, row_width_ = 0;
  std::string text_;
};

}  // namespace

std::string explanation_text(const Explanation& explanation, const RunTokenizer& tokenizer, bool colored) {
  return Writer(explanation, tokenizer, colored).text();
}

}  // namespace engram
