#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

namespace engram {

// Calls use(object, "FILE:LINE: ") with every whole line of a file of JSON lines that is an object with a step, such as
// metrics.jsonl. Others are passed over; of a file that is not there, or a directory, there are none. Throws Error
// where a step is beyond 64 bits, IoError where the system does not let it read all of the file.
using UseStepLine = std::function<void(const nlohmann::json&, const std::string& where)>;
void each_step_line(const std::string& path, const UseStepLine& use);

// The number of that name; NaN where there is none.
double number_in(const nlohmann::json& object, const char* name);

// The text of that name; "" where there is none. Throws Error with `where` in front where it is something else.
std::string text_in(const nlohmann::json& object, const char* name, const std::string& where);

}  // namespace engram
