#pragma once

#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace engram {

// Throws Error "WHAT: KEY = VALUE is not supported" for a key of the object that is not among `known`.
void check_keys(const nlohmann::json& object, std::string_view what, std::initializer_list<std::string_view> known);

}  // namespace engram
