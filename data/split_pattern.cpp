#define PCRE2_CODE_UNIT_WIDTH 8
#include "data/split_pattern.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <array>

#include "kernels/core/check.h"

namespace engram {
namespace {

constexpr std::string_view kKnownEscapes = "rntfv";
constexpr std::array<std::string_view, 7> kKnownGroups{"?:", "?i:", "?=", "?!", "?<=", "?<!", "?>"};

// Characters that are unassigned in PCRE2 10.42 (Unicode 14.0) and not in the `tokenizers` library (16.0).
struct CategoryRange {
  std::string_view category;
  uint32_t first, last;
};
constexpr CategoryRange kNewlyAssigned[] = {
#include "data/unicode_categories.inc"
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter_or_digit(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Rewrites Oniguruma's syntax (as configured by the `tokenizers` library) to PCRE2's.
class Translation {
 public:
  explicit Translation(std::string_view pattern) : left_(pattern), whole_(pattern) {
    while (!left_.empty()) in_class_ ? class_character() : character();
  }
  const std::string& result() const { return result_; }

 private:
  void copy(size_t count) {
    result_ += left_.substr(0, count);
    left_.remove_prefix(count);
  }

  [[noreturn]] void refuse(std::string_view what) const {
    ENGRAM_FAIL("pattern \"", whole_, "\" at character ", whole_.size() - left_.size(), ": ", what,
                " is not supported in a split pattern");
  }

  void character() {
    if (left_.starts_with("\\")) return escape();
    if (left_.starts_with("^") || left_.starts_with("$")) refuse("an anchor");
    if (left_.starts_with("}+")) refuse("\"}+\"");
    if (left_.starts_with("{") && (left_.size() < 2 || !is_digit(left_[1]))) refuse("\"{\" without a number");
    if (left_.starts_with("(?") || left_.starts_with("(*")) return group();
    if (!left_.starts_with("[")) return copy(1);
    copy(left_.starts_with("[^") ? 2 : 1);
    if (left_.starts_with("]")) refuse("an empty class");
    in_class_ = true;
  }

  void class_character() {
    if (left_.starts_with("\\")) return escape();
    if (left_.starts_with("[")) refuse("\"[\" in a class");
    if (left_.starts_with("&&")) refuse("\"&&\" in a class");
    in_class_ = !left_.starts_with("]");
    copy(1);
  }

  void group() {
    for (const std::string_view known : kKnownGroups) {
      if (left_.substr(1).starts_with(known)) return copy(1 + known.size());
    }
    refuse("this kind of group");
  }

  void escape() {
    if (left_.size() < 2) refuse("a lone backslash");
    const char letter = left_[1];
    if (letter == 'p' || letter == 'P') return property();
    if (letter == 's' || letter == 'S') return replace(letter == 's' ? "\\p{White_Space}" : "\\P{White_Space}");
    if (letter == 'd' || letter == 'D') return category("Nd", letter == 'D', 2);
    if (is_letter_or_digit(letter) && kKnownEscapes.find(letter) == kKnownEscapes.npos) refuse(left_.substr(0, 2));
    copy(2);
  }

  void replace(std::string_view text) {
    result_ += text;
    left_.remove_prefix(2);
  }

  // A script name alone would mean script extensions in PCRE2.
  void property() {
    const size_t end = left_.find('}');
    if (left_.substr(2, 1) != "{" || end == left_.npos) refuse("a property without braces");
    const std::string_view name = left_.substr(3, end - 3);
    for (const char c : name) {
      if (!is_letter_or_digit(c) && c != '_') refuse(left_.substr(0, end + 1));
    }
    if (name.size() <= 2) return category(name, left_[1] == 'P', end + 1);
    result_ += left_.substr(0, 3);
    result_ += "sc:";
    left_.remove_prefix(3);
    copy(left_.find('}') + 1);
  }

  // A general category with its new members, for the next `count` characters of the pattern.
  void category(std::string_view name, bool is_negated, size_t count) {
    constexpr std::string_view kFirst = "LMNPSZC";  // PCRE2 takes other spellings too, and scripts of two letters
    const bool is_known = !name.empty() && kFirst.find(name[0]) != kFirst.npos &&
                          (name.size() == 1 || (name[1] >= 'a' && name[1] <= 'z'));
    if (!is_known || name == "C" || name == "Cn" || name == "Lc") refuse(left_.substr(0, count));
    if (in_class_ && is_negated) refuse("a negated category in a class");
    std::string members = fmt::format("\\p{{{}}}", name);
    for (const CategoryRange& range : kNewlyAssigned) {
      if (range.category.starts_with(name)) members += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", range.first, range.last);
    }
    result_ += in_class_ ? members : fmt::format("[{}{}]", is_negated ? "^" : "", members);
    left_.remove_prefix(count);
  }

  std::string_view left_;
  const std::string_view whole_;
  std::string result_;
  bool in_class_ = false;
};

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

SplitPattern::SplitPattern(std::string_view pattern, Kind kind) {
  const std::string translated = kind == Kind::kRegex ? Translation(pattern).result() : std::string(pattern);
  const uint32_t options = PCRE2_UTF | (kind == Kind::kRegex ? PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C : PCRE2_LITERAL);
  int error = 0;
  size_t offset = 0;
  const std::unique_ptr<pcre2_compile_context, void (*)(pcre2_compile_context*)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(), options, &error,
                                   &offset, context.get());
  ENGRAM_CHECK(code != nullptr, "pattern \"", pattern, "\": ", message_of(error), " (PCRE2, at character ", offset,
               " of \"", translated, "\")");
  code_ = std::shared_ptr<void>(code, [](void* p) { pcre2_code_free(static_cast<pcre2_code*>(p)); });
  uint32_t matches_empty = 0;
  pcre2_pattern_info(code, PCRE2_INFO_MATCHEMPTY, &matches_empty);
  ENGRAM_CHECK(matches_empty == 0, "pattern \"", pattern, "\" can match an empty text, which is not supported");
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without JIT on this machine the interpreter gives the same matches
}

struct SplitPattern::Search::Buffers {
  static constexpr size_t kStackStart = 32 << 10, kStackLimit = 4 << 20;
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(kStackStart, kStackLimit, nullptr);

  Buffers() { pcre2_jit_stack_assign(context, nullptr, stack); }
  Buffers(const Buffers&) = delete;
  Buffers& operator=(const Buffers&) = delete;
  ~Buffers() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
};

SplitPattern::Search::Search() : buffers_(std::make_shared<Buffers>()) {}

std::pair<size_t, size_t> SplitPattern::Search::find(const SplitPattern& pattern, std::string_view text, size_t from) {
  const int found =
      pcre2_match(static_cast<const pcre2_code*>(pattern.code_.get()), reinterpret_cast<PCRE2_SPTR>(text.data()),
                  text.size(), from, PCRE2_NO_UTF_CHECK, buffers_->data, buffers_->context);
  if (found == PCRE2_ERROR_NOMATCH) return {text.size(), text.size()};
  ENGRAM_CHECK(found >= 0, "split pattern failed on a text of ", text.size(), " bytes: ", message_of(found));
  const size_t* range = pcre2_get_ovector_pointer(buffers_->data);
  return {range[0], range[1]};
}

}  // namespace engram
