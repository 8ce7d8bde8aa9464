#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

namespace engram {

// Calls `use` with every whole line of a file of JSON lines that is an object with a step, such as metrics.jsonl.
// Others, and a file that is not there, are passed over.
void each_step_line(const std::string& path, const std::function<void(const nlohmann::json&)>& use);

// The number of that name; NaN where there is none.
double number_in(const nlohmann::json& object, const char* name);

}  // namespace engram
