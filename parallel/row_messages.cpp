#include "parallel/row_messages.h"

#include <cstddef>
#include <cstring>

#include "parallel/hash.h"

namespace engram {
namespace {

// Hash of bytes in order, eight at a time.
uint64_t hash_bytes(uint64_t state, const char* bytes, int64_t num_bytes) {
  const auto add = [&state](uint64_t word) {
    state = (state ^ word) * kGoldenOdd;
    state ^= state >> 32;
  };
  uint64_t word = 0;
  for (; num_bytes >= 8; num_bytes -= 8, bytes += 8) {
    std::memcpy(&word, bytes, 8);
    add(word);
  }
  word = 0;
  std::memcpy(&word, bytes, static_cast<size_t>(num_bytes));
  add(word);
  return hash_mix(state);
}

uint64_t seal_of(const RowHeader& header) {
  return hash_bytes(1, reinterpret_cast<const char*>(&header), offsetof(RowHeader, seal));
}

int64_t signed_of(uint64_t value) { return static_cast<int64_t>(value); }

template <class Value>
std::string got_wanted(const char* what, const Value& got, const Value& wanted) {
  return std::string(what) + ": got " + std::to_string(got) + ", wanted " + std::to_string(wanted);
}

std::string route_text(int64_t route) {
  return std::to_string(route >> 32) + " to " + std::to_string(route & 0xffffffff);
}

}  // namespace

void RowHeader::close() { seal = signed_of(seal_of(*this)); }
bool RowHeader::is_intact() const { return seal == signed_of(seal_of(*this)); }

int64_t pack_row_type(int64_t width, DType dtype) {
  return width << 32 | static_cast<int64_t>(dtype) << 16 | static_cast<int64_t>(sizeof(int64_t)) << 8;
}

int64_t hash_slots(std::span<const int64_t> slots) {
  uint64_t sum = 0;
  for (const int64_t slot : slots) sum += hash_mix(static_cast<uint64_t>(slot) + kGoldenOdd);
  return signed_of(sum);
}

int64_t sum_slots(std::span<const int64_t> slots) {
  uint64_t sum = 0;
  for (const int64_t slot : slots) sum += static_cast<uint64_t>(slot);
  return signed_of(sum);
}

int64_t hash_rows(std::span<const int64_t> slots, const Tensor& rows) {
  const int64_t row_bytes = slots.empty() ? 0 : rows.num_bytes() / static_cast<int64_t>(slots.size());
  const char* row = static_cast<const char*>(rows.data);
  uint64_t sum = 0;
  for (const int64_t slot : slots) {
    sum += hash_bytes(hash_mix(static_cast<uint64_t>(slot) + kGoldenOdd), row, row_bytes);
    row += row_bytes;
  }
  return signed_of(sum);
}

std::string find_problem(const RowHeader& got, const RowHeader& wanted, int64_t num_slots) {
  if (got.format != wanted.format) return got_wanted("header format", got.format, wanted.format);
  if (!got.is_intact()) return got_wanted("header seal", got.seal, signed_of(seal_of(got)));
  if (got.plan != wanted.plan) return got_wanted("plan number", got.plan, wanted.plan);
  if (got.route != wanted.route) {
    return "route: got a header from " + route_text(got.route) + ", wanted from " + route_text(wanted.route);
  }
  if (got.row_type != wanted.row_type) {
    return got_wanted("row type", got.row_type, wanted.row_type) + " (width << 32 | dtype << 16 | slot bytes << 8)";
  }
  if (got.layout != wanted.layout) return got_wanted("row layout", got.layout, wanted.layout);
  if (got.count < 0 || got.count > num_slots) {
    return "row count: got " + std::to_string(got.count) + ", wanted 0 to " + std::to_string(num_slots);
  }
  return "";
}

std::string find_problem(std::span<const int64_t> slots, const RowHeader& header, int64_t num_slots) {
  int64_t previous = -1;
  for (const int64_t slot : slots) {
    if (slot < 0 || slot >= num_slots) {
      return "slot range: got " + std::to_string(slot) + ", wanted 0 to " + std::to_string(num_slots - 1);
    }
    if (slot <= previous) {
      return "slot order: got " + std::to_string(slot) + " after " + std::to_string(previous) +
             ", wanted ascending slots";
    }
    previous = slot;
  }
  if (sum_slots(slots) != header.slot_sum) return got_wanted("slot sum", sum_slots(slots), header.slot_sum);
  if (hash_slots(slots) != header.slot_hash) return got_wanted("slot hash", hash_slots(slots), header.slot_hash);
  return "";
}

}  // namespace engram
