#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

#include "kernels/core/check.h"

namespace engram {

// The integer that `value` is, a json of nlohmann, whose own conversion takes 1.5 and true for 1 and is undefined for
// 1e30. Throws Error with `what` in front where it is none that fits.
template <class Json>
int64_t json_integer(const Json& value, std::string_view what) {
  const bool fits =
      value.is_number_integer() &&
      (!value.is_number_unsigned() || value.template get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()});
  const auto shown = [&] { return value.is_structured() ? value.type_name() : value.dump().substr(0, 40); };
  ENGRAM_CHECK(fits, what, ": got ", shown(), ", wanted an integer of 64 bits");
  return value.template get<int64_t>();
}

}  // namespace engram
