#include <nlohmann/json.hpp>

#include "trainer/config.h"
#include "trainer/config_fields.h"

namespace engram {
namespace {

using Json = nlohmann::ordered_json;

// "model.engram.heads" -> /properties/model/properties/engram/properties/heads
Json::json_pointer place_of(std::string_view path) {
  Json::json_pointer place;
  while (!path.empty()) {
    const size_t end = std::min(path.find('.'), path.size());
    place /= "properties";
    place /= std::string(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return place;
}

// The sections that hold a required key are required too.
void require(Json& schema, std::string_view path) {
  while (!path.empty()) {
    const size_t dot = path.rfind('.');
    const bool is_top = dot == std::string_view::npos;
    const std::string name(path.substr(is_top ? 0 : dot + 1));
    path = is_top ? std::string_view() : path.substr(0, dot);
    Json& known = schema.at(place_of(path))["required"];
    if (std::find(known.begin(), known.end(), name) == known.end()) known.push_back(name);
  }
}

}  // namespace

std::string config_schema() {
  Json schema{{"$schema", "http://json-schema.org/draft-07/schema#"},
              {"title", "Configuration of a run of engram, or of a sweep"},
              {"type", "object"},
              {"additionalProperties", false}};
  for (const FieldInfo& field : config_fields(SweepFile{})) {
    Json& place = schema[place_of(field.path)];
    place = field.is_section ? Json{{"type", "object"}, {"additionalProperties", false}} : Json::parse(field.schema);
    place["description"] = field.meaning;
    if (field.is_required) require(schema, field.path);
  }
  return schema.dump(1) + "\n";
}

}  // namespace engram
