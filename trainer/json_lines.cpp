#include "trainer/json_lines.h"

#include <fstream>

#include "trainer/metrics.h"

namespace engram {

void each_step_line(const std::string& path, const std::function<void(const nlohmann::json&)>& use) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (object.is_object() && object.contains("step") && object["step"].is_number_integer()) use(object);
  }
}

double number_in(const nlohmann::json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number() ? found->get<double>() : kNotMeasured;
}

}  // namespace engram
