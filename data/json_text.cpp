#include "data/json_text.h"

#include <cstdint>
#include <nlohmann/json.hpp>

namespace engram {
namespace {

// What the parser calls for each piece of the text, in order; see json_sax in nlohmann/json.hpp.
class TextFinder {
 public:
  explicit TextFinder(std::string_view field) : field_(field) {}

  bool null() { return value("null"); }
  bool boolean(bool) { return value("boolean"); }
  bool number_integer(int64_t) { return value("number"); }
  bool number_unsigned(uint64_t) { return value("number"); }
  bool number_float(double, const std::string&) { return value("number"); }
  bool binary(nlohmann::json::binary_t&) { return value("binary"); }
  bool string(std::string& text) {
    if (is_field_) text_ = std::move(text);
    return value("string");
  }
  bool start_object(size_t) { return open("object"); }
  bool start_array(size_t) { return open("array"); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& name) {
    is_field_ = depth_ == 1 && name == field_;
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception& error) {
    constexpr size_t kLongest = 200;  // it may quote a long token
    problem_ = "is no JSON: " + std::string(error.what()).substr(0, kLongest);
    return false;
  }

  std::optional<std::string> result(std::string& problem) {
    if (problem_.empty() && root_type_ != "object") {
      problem_ = "is a JSON " + root_type_ + ", wanted an object";
    } else if (problem_.empty() && field_type_.empty()) {
      problem_ = "has no field \"" + std::string(field_) + "\"";
    } else if (problem_.empty() && field_type_ != "string") {
      problem_ = "field \"" + std::string(field_) + "\" is a " + field_type_ + ", wanted a string";
    }
    if (problem_.empty()) return std::move(text_);
    problem = std::move(problem_);
    return std::nullopt;
  }

 private:
  bool value(const char* type) {
    if (depth_ == 0) root_type_ = type;
    if (is_field_) field_type_ = type;
    is_field_ = false;
    return true;
  }
  bool open(const char* type) {
    value(type);
    ++depth_;
    return true;
  }
  bool close() {
    --depth_;
    return true;
  }

  std::string_view field_;
  std::string text_, root_type_, field_type_, problem_;
  int64_t depth_ = 0;
  bool is_field_ = false;  // the next value is the field's
};

}  // namespace

std::optional<std::string> json_text(std::string_view json, std::string_view field, std::string& problem) {
  TextFinder finder(field);
  nlohmann::json::sax_parse(json, &finder);
  return finder.result(problem);
}

}  // namespace engram
