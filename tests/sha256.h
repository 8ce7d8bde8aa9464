#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

// SHA-256 (FIPS 180-4) of a block of memory, for digests in tests/golden.
namespace engram::test {
namespace detail {

// Word i of the fractional bits of the square (root 2) or cube (root 3) roots of the first primes, by bisection.
inline uint32_t root_fraction(uint64_t prime, int root) {
  __extension__ using Word128 = unsigned __int128;
  uint64_t low = 0, high = uint64_t{1} << 40;
  while (high - low > 1) {  // largest x with (x / 2^32)^root <= prime
    const uint64_t middle = (low + high) / 2;
    const Word128 limit = root == 2 ? Word128{prime} << 64 : (Word128{prime} << 96) / middle;
    (Word128{middle} * middle <= limit ? low : high) = middle;
  }
  return static_cast<uint32_t>(low);
}

inline std::array<uint32_t, 64> root_fractions(int root) {
  std::array<uint32_t, 64> words{};
  size_t count = 0;
  for (uint64_t candidate = 2; count < words.size(); ++candidate) {
    bool is_prime = true;
    for (uint64_t divisor = 2; divisor * divisor <= candidate; ++divisor) is_prime &= candidate % divisor != 0;
    if (is_prime) words[count++] = root_fraction(candidate, root);
  }
  return words;
}

inline void sha256_block(const uint8_t* block, std::array<uint32_t, 8>& state) {
  static const std::array<uint32_t, 64> constants = root_fractions(3);
  std::array<uint32_t, 64> w;
  for (size_t i = 0; i < 16; ++i) {
    w[i] = uint32_t{block[4 * i]} << 24 | uint32_t{block[4 * i + 1]} << 16 | uint32_t{block[4 * i + 2]} << 8 |
           block[4 * i + 3];
  }
  for (size_t i = 16; i < 64; ++i) {
    const uint32_t a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ a >> 3) + w[i - 7] +
           (std::rotr(b, 17) ^ std::rotr(b, 19) ^ b >> 10);
  }
  auto s = state;
  for (size_t i = 0; i < 64; ++i) {
    const uint32_t t1 = s[7] + (std::rotr(s[4], 6) ^ std::rotr(s[4], 11) ^ std::rotr(s[4], 25)) +
                        ((s[4] & s[5]) ^ (~s[4] & s[6])) + constants[i] + w[i];
    const uint32_t t2 = (std::rotr(s[0], 2) ^ std::rotr(s[0], 13) ^ std::rotr(s[0], 22)) +
                        ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
    s = {t1 + t2, s[0], s[1], s[2], s[3] + t1, s[4], s[5], s[6]};
  }
  for (size_t i = 0; i < 8; ++i) state[i] += s[i];
}

}  // namespace detail

// The digest as 64 hexadecimal digits.
inline std::string sha256(const void* data, size_t num_bytes) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  std::vector<uint8_t> message(bytes, bytes + num_bytes);
  message.push_back(0x80);
  while (message.size() % 64 != 56) message.push_back(0);
  for (int shift = 56; shift >= 0; shift -= 8)
    message.push_back(static_cast<uint8_t>(uint64_t{num_bytes} * 8 >> shift));
  const auto initial = detail::root_fractions(2);
  std::array<uint32_t, 8> state;
  for (size_t i = 0; i < 8; ++i) state[i] = initial[i];
  for (size_t at = 0; at < message.size(); at += 64) detail::sha256_block(message.data() + at, state);
  std::string text;
  for (const uint32_t word : state) {
    char digits[9];
    std::snprintf(digits, sizeof digits, "%08x", word);
    text += digits;
  }
  return text;
}

}  // namespace engram::test
