#pragma once

#include <cstdint>

namespace engram {

// The odd integer nearest to 2^64 / golden ratio.
inline constexpr uint64_t kGoldenOdd = 0x9e3779b97f4a7c15u;

// A bijection of 64-bit words in which every bit of the result depends on every bit of the argument: the output
// function of splitmix64 (Steele, Lea & Flood 2014). Guards against accidents, not against forgery.
constexpr uint64_t hash_mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

}  // namespace engram
