#pragma once

#include <algorithm>
#include <cmath>

namespace engram::test {

// Distance of two numbers in units of the last place of the float nearest to `want`.
inline double ulps(double got, double want) {
  const double place = std::ldexp(1.0, std::ilogb(static_cast<float>(want)) - 23);
  return std::abs(got - want) / std::max(place, 0x1p-149);
}

}  // namespace engram::test
