#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace engram {

// Place in a text; lines and columns (in bytes) count from 1, 0 = not known.
struct YamlMark {
  int line = 0;
  int column = 0;
};

struct YamlKey {
  std::string text;
  YamlMark mark;
};

// A value as it was written, without any guess at its type.
struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };
  Kind kind = Kind::kNull;
  std::string text;   // scalar
  bool plain = true;  // scalar without quotes
  YamlMark mark;
  std::vector<YamlKey> keys;    // map: in order, duplicates included
  std::vector<YamlNode> items;  // list elements; map values, one per key
};

struct YamlProblem {
  YamlMark mark;
  std::string text;
};

inline constexpr size_t kMaxYamlBytes = 1'000'000;
inline constexpr int kMaxYamlNodes = 100'000;
inline constexpr size_t kMaxYamlDepth = 64;

// Reads one document of a strict subset of YAML 1.2. Appends to `problems` what it refuses: text that is not UTF-8 or
// holds control characters or a byte order mark, more than the limits above, anchors, aliases, tags, keys that are no
// scalars, an empty or a second document, and syntax errors. The tree holds what was read up to then. Never throws for
// bad input.
YamlNode parse_yaml(std::string_view text, std::vector<YamlProblem>& problems);

}  // namespace engram
