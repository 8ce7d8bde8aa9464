#include "trainer/json_lines.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "data/json_integer.h"
#include "trainer/metrics.h"

namespace engram {

void each_step_line(const std::string& path, const UseStepLine& use) {
  if (std::error_code none; std::filesystem::is_directory(path, none)) return;
  std::ifstream file(path);
  int64_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object() || !object.contains("step") || !object["step"].is_number_integer()) continue;
    const std::string where = fmt::format("{}:{}: ", path, number);
    json_integer(object["step"], where + "step");
    use(object, where);
  }
  ENGRAM_CHECK_AS(IoError, !file.bad(), path, ": cannot be read to its end");
}

double number_in(const nlohmann::json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number() ? found->get<double>() : kNotMeasured;
}

std::string text_in(const nlohmann::json& object, const char* name, const std::string& where) {
  const auto found = object.find(name);
  if (found == object.end()) return "";
  ENGRAM_CHECK(found->is_string(), where, name, ": got ", found->type_name(), ", wanted a text");
  return found->get<std::string>();
}

}  // namespace engram
