#include "data/known_keys.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/core/check.h"

namespace engram {

void check_keys(const nlohmann::json& object, std::string_view what, std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : object.items()) {
    const bool is_known = std::find(known.begin(), known.end(), key) != known.end();
    ENGRAM_CHECK(is_known, what, ": ", key, " = ", value.dump().substr(0, 200), " is not supported");
  }
}

}  // namespace engram
