#include "data/json_integer.h"

#include <nlohmann/json.hpp>

#include "tests/data/deep_json.h"
#include "tests/testing.h"

namespace engram {
namespace {

using nlohmann::json;

TEST(JsonInteger, TakesIntegersThatFitAlone) {
  EXPECT_EQ(json_integer(json::parse("-9223372036854775808"), "n"), INT64_MIN);
  const auto error = [](const std::string& text) {
    return test::error_of([&] { json_integer(json::parse(text), "n"); });
  };
  for (const char* text : {"1.5", "1e30", "true", "\"1\"", "9223372036854775808"}) {
    EXPECT_NE(error(text).find("n: got " + json::parse(text).dump() + ", wanted an integer"), std::string::npos);
  }
  EXPECT_NE(error(test::deep_json()).find("n: got array, wanted an integer"), std::string::npos);
}

}  // namespace
}  // namespace engram
