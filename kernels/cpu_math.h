#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

// Elementary functions for the inner loops of *_cpu.cpp. The float forms have no branch and no call, so that loops
// over them vectorise; the double forms are the C library's, because double is the reference.
namespace engram {

// e^x within 1.1 ulp, subnormal results and overflow to infinity included; NaN stays NaN. Cody-Waite reduction by ln 2
// and the polynomial of Cephes' expf (https://netlib.org/cephes/).
inline float fast_exp(float x) {
  constexpr float kRound = 0x1.8p23f;  // adding it leaves the nearest integer in the low bits
  x = x < -104.0f ? -104.0f : x;
  x = x > 89.0f ? 89.0f : x;
  const float shifted = x * 1.44269504088896341f + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  // 2^n in two factors: n reaches from -150 to 128, past the exponents of one float.
  const int32_t exponent = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound);
  const int32_t half = exponent >> 1;
  const float low = std::bit_cast<float>(static_cast<uint32_t>(half + 127) << 23);
  const float high = std::bit_cast<float>(static_cast<uint32_t>(exponent - half + 127) << 23);
  return p * low * high;
}
inline double fast_exp(double x) { return std::exp(x); }

// 1 / (1 + e^-x); 0 and 1 at the infinities.
inline float fast_sigmoid(float x) { return 1.0f / (1.0f + fast_exp(-x)); }
inline double fast_sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// Sum of body(i) for i in [0, count), kept in kLanes partial sums that are added in a fixed order: vectorises without
// leave to reorder floating-point sums, and its error grows with count / kLanes.
template <class T, class Body>
T lane_sum(int64_t count, Body&& body) {
  constexpr int64_t kLanes = 32;
  T lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += body(i + lane);
  }
  for (int64_t lane = 0; i < count; ++i, ++lane) lanes[lane] += body(i);
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return lanes[0];
}

// Largest of body(i) for i in [0, count), at least `least`.
template <class T, class Body>
T lane_max(int64_t count, T least, Body&& body) {
  constexpr int64_t kLanes = 32;
  T lanes[kLanes];
  for (T& lane : lanes) lane = least;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const T value = body(i + lane);
      lanes[lane] = value > lanes[lane] ? value : lanes[lane];
    }
  }
  T largest = least;
  for (; i < count; ++i) {
    const T value = body(i);
    largest = value > largest ? value : largest;
  }
  for (const T lane : lanes) largest = lane > largest ? lane : largest;
  return largest;
}

}  // namespace engram
