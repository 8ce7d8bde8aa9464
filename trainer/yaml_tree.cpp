#include "trainer/yaml_tree.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <optional>
#include <sstream>

#include "data/utf8.h"

namespace engram {
namespace {

// Ends parsing; the text goes to the user.
struct Refused {
  YamlProblem problem;
};

YamlMark mark_of(const YAML::Mark& mark) { return {.line = mark.line + 1, .column = mark.column + 1}; }

YamlNode node_at(const YAML::Mark& mark, YamlNode::Kind kind) {
  YamlNode node;
  node.kind = kind;
  node.mark = mark_of(mark);
  return node;
}

// Builds the tree from the parser's events. Own handler, since YAML::Load resolves aliases and drops duplicate keys.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view text, std::vector<YamlProblem>& problems) : text_(text), problems_(problems) {}

  YamlNode take_root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++num_documents_ > 1) throw Refused{{mark_of(mark), "a second document; wanted one"}};
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_properties(mark, "?", anchor);
    add(node_at(mark, YamlNode::Kind::kNull));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    problems_.push_back({mark_of(mark), "aliases are not supported; write the value out"});
    add(node_at(mark, YamlNode::Kind::kNull));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_properties(mark, tag, anchor);
    YamlNode node = node_at(mark, YamlNode::Kind::kScalar);
    node.text = value;
    node.plain = tag == "?";
    add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    refuse_properties(mark, tag, anchor);
    open(node_at(mark, YamlNode::Kind::kList));
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    refuse_properties(mark, tag, anchor);
    open(node_at(mark, YamlNode::Kind::kMap));
  }
  void OnMapEnd() override { close(); }

 private:
  void refuse_properties(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) problems_.push_back({mark_of(mark), "anchors are not supported; write the value out"});
    // "! text" has the same tag as a quoted scalar, so the text itself is looked at.
    const auto at = static_cast<size_t>(std::max(mark.pos, 0));
    const bool bare_tag = anchor == 0 && at < text_.size() && text_[at] == '!';
    if (bare_tag || (tag != "?" && tag != "!")) problems_.push_back({mark_of(mark), "tags are not supported"});
  }

  void open(YamlNode node) {
    if (open_.size() >= kMaxYamlDepth) {
      throw Refused{{node.mark, fmt::format("nested deeper than {} levels", kMaxYamlDepth)}};
    }
    count(node);
    open_.push_back({.node = std::move(node), .key = {}});
  }
  void close() {
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    place(std::move(node));
  }
  void add(YamlNode node) {
    count(node);
    place(std::move(node));
  }
  void count(const YamlNode& node) {
    if (++num_nodes_ > kMaxYamlNodes) throw Refused{{node.mark, fmt::format("more than {} values", kMaxYamlNodes)}};
  }

  // Puts a complete node where it belongs: keys and values of a map alternate.
  void place(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node.kind == YamlNode::Kind::kMap && !parent.key) {
      if (node.kind != YamlNode::Kind::kScalar) problems_.push_back({node.mark, "a key must be plain text"});
      parent.key = YamlKey{.text = std::move(node.text), .mark = node.mark};
      return;
    }
    if (parent.key) parent.node.keys.push_back(*std::exchange(parent.key, std::nullopt));
    parent.node.items.push_back(std::move(node));
  }

  struct Open {
    YamlNode node;
    std::optional<YamlKey> key;  // of the value to come
  };
  std::string_view text_;
  std::vector<YamlProblem>& problems_;
  std::vector<Open> open_;
  YamlNode root_;
  int num_nodes_ = 0;
  int num_documents_ = 0;
};

YamlMark mark_at(std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const size_t line_start = before.rfind('\n') + 1;  // npos + 1 = 0
  return {.line = static_cast<int>(std::count(before.begin(), before.end(), '\n')) + 1,
          .column = static_cast<int>(offset - line_start) + 1};
}

// What can be said without parsing; parsing starts only on clean text.
std::optional<YamlProblem> refuse_bytes(std::string_view text) {
  if (text.size() > kMaxYamlBytes) {
    return YamlProblem{{}, fmt::format("{} bytes; wanted at most {}", text.size(), kMaxYamlBytes)};
  }
  if (text.substr(0, 3) == "\xEF\xBB\xBF") return YamlProblem{{1, 1}, "starts with a byte order mark; remove it"};
  if (const auto at = find_invalid_utf8(text)) return YamlProblem{mark_at(text, *at), "is not valid UTF-8"};
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool is_control = (byte < 0x20 && byte != '\n' && byte != '\r' && byte != '\t') || byte == 0x7f;
    if (is_control) return YamlProblem{mark_at(text, i), fmt::format("control character {:#04x}", byte)};
  }
  return std::nullopt;
}

}  // namespace

YamlNode parse_yaml(std::string_view text, std::vector<YamlProblem>& problems) {
  if (auto problem = refuse_bytes(text)) {
    problems.push_back(std::move(*problem));
    return {};
  }
  TreeBuilder builder(text, problems);
  try {
    // Without white space at the end, since yaml-cpp misses an unfinished quote that runs into one.
    std::istringstream stream{std::string(text.substr(0, text.find_last_not_of(" \t\r\n") + 1))};
    YAML::Parser parser(stream);
    // The second call finds trailing text and further documents.
    if (!parser.HandleNextDocument(builder))
      problems.push_back({{}, "is empty; wanted keys and values"});
    else
      parser.HandleNextDocument(builder);
  } catch (const Refused& refused) {
    problems.push_back(refused.problem);
  } catch (const YAML::Exception& error) {
    problems.push_back({mark_of(error.mark), "not valid YAML: " + error.msg});
  }
  return builder.take_root();
}

}  // namespace engram
