#include "data/byte_level.h"

#include <array>

#include "data/utf8.h"

namespace engram {
namespace {

constexpr char32_t kNumLetters = 0x144;

constexpr bool is_own_letter(unsigned byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

constexpr std::array<char32_t, 256> make_letters() {
  std::array<char32_t, 256> letters{};
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) letters[byte] = is_own_letter(byte) ? char32_t{byte} : next++;
  return letters;
}

constexpr std::array<int16_t, kNumLetters> make_bytes() {
  std::array<int16_t, kNumLetters> bytes{};
  for (int16_t& byte : bytes) byte = -1;
  constexpr auto letters = make_letters();
  for (unsigned byte = 0; byte < 256; ++byte) bytes[letters[byte]] = static_cast<int16_t>(byte);
  return bytes;
}

constexpr auto kLetters = make_letters();
constexpr auto kBytes = make_bytes();
static_assert(kLetters[' '] == U'Ġ' && kLetters[173] == kNumLetters - 1);

}  // namespace

char32_t byte_to_letter(uint8_t byte) { return kLetters[byte]; }

std::optional<std::string> bytes_of_piece(std::string_view piece) {
  std::string bytes;
  for (size_t at = 0; at < piece.size();) {
    const char32_t letter = next_code_point(piece, at);
    if (letter >= kNumLetters || kBytes[letter] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kBytes[letter]));
  }
  return bytes;
}

}  // namespace engram
