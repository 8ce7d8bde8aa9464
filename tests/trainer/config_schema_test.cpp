#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "trainer/config.h"
#include "trainer/config_fields.h"

namespace engram {
namespace {

using Json = nlohmann::json;

struct ConfigSchema : ::testing::Test {
  Json schema = Json::parse(config_schema());

  const Json& at(std::string path) const {
    std::string place = "/properties/";
    for (const char c : path) place += c == '.' ? "/properties/" : std::string(1, c);
    return schema.at(Json::json_pointer(place));
  }
  static size_t num_keys(const Json& object) {
    if (!object.contains("properties")) return 1;
    size_t count = 1;
    for (const auto& [name, below] : object["properties"].items()) count += num_keys(below);
    return count;
  }
};

TEST_F(ConfigSchema, HasEveryKeyAndNoOther) {
  const std::vector<FieldInfo> fields = config_fields(SweepFile{});
  for (const FieldInfo& field : fields) {
    EXPECT_EQ(at(field.path).at("description"), field.meaning);
    EXPECT_FALSE(field.meaning.empty()) << field.path;
    if (field.is_section) {
      EXPECT_EQ(at(field.path).at("additionalProperties"), false) << field.path;
    } else {
      EXPECT_TRUE(at(field.path).contains("default")) << field.path;
    }
  }
  EXPECT_EQ(num_keys(schema), 1 + fields.size());
  EXPECT_EQ(schema["additionalProperties"], false);
}

TEST_F(ConfigSchema, SaysTypeRangeAndDefault) {
  EXPECT_EQ(at("model.engram.heads"), Json::parse(R"({"type": "integer", "minimum": 1, "maximum": 1024, "default": 8,
      "description": "hash heads per order"})"));
  EXPECT_EQ(at("optimizer.table.lr_mult")["type"], "number");
  EXPECT_EQ(at("train.recompute")["type"], "boolean");
  EXPECT_EQ(at("run.name")["default"], "run");
  EXPECT_EQ(at("device")["enum"], Json({"cpu", "cuda"}));
  const Json& list = at("model.engram.orders");
  EXPECT_EQ(list["type"], Json({"array", "integer"}));  // one value stands for a list of one
  EXPECT_EQ(list["items"]["type"], "integer");
  EXPECT_EQ(list["items"]["maximum"], list["maximum"]);
  EXPECT_EQ(list["default"], Json({2, 3}));
}

TEST_F(ConfigSchema, SectionsOfRequiredKeysAreRequired) {
  EXPECT_EQ(schema["required"], Json({"model", "train"}));
  EXPECT_EQ(at("train")["required"], Json({"steps", "global_batch"}));
  EXPECT_EQ(at("model")["required"], Json({"vocab_size", "hidden", "num_layers", "attention"}));
  EXPECT_FALSE(at("data").contains("required"));
}

}  // namespace
}  // namespace engram
