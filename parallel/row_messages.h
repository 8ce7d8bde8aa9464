#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "kernels/core/tensor.h"

namespace engram {

// What RowExchange sends beside slots and rows, and how a receiver finds a message that is not what it should be.

// First message of a plan, from each rank to each rank; 64-bit words in the byte order of the host.
struct RowHeader {
  static constexpr int64_t kFormat = 0x454e47524f575301;  // "ENGROWS" and the version

  int64_t format = kFormat;
  int64_t plan = 0;       // number of the plan, counted from 1 by every rank
  int64_t route = 0;      // source rank << 32 | destination rank
  int64_t row_type = 0;   // see pack_row_type
  int64_t layout = 0;     // RowLayout::digest()
  int64_t count = 0;      // slots that follow
  int64_t slot_sum = 0;   // of the slots
  int64_t slot_hash = 0;  // hash_slots()
  int64_t seal = 0;       // hash of the words above

  // Sets the seal; the last step before sending.
  void close();
  bool is_intact() const;
};
static_assert(sizeof(RowHeader) == 72);

// Words of a message of headers, one header a row.
inline constexpr int64_t kHeaderWords = sizeof(RowHeader) / sizeof(int64_t);

// width << 32 | dtype << 16 | bytes of a slot << 8 | node numbers that follow each slot (none today).
int64_t pack_row_type(int64_t width, DType dtype);

// Order-free hash of a list of slots, and their sum, modulo 2^64.
int64_t hash_slots(std::span<const int64_t> slots);
int64_t sum_slots(std::span<const int64_t> slots);

// Order-free hash of rows [n, ...] together with their slots [n], so that neither a changed byte nor a row in another
// row's place keeps it.
int64_t hash_rows(std::span<const int64_t> slots, const Tensor& rows);

// What is wrong with a header, or "": `wanted` is what an intact peer sends, its count and slot words left out.
std::string find_problem(const RowHeader& got, const RowHeader& wanted, int64_t num_slots);

// What is wrong with the slots that came with a header, or "". num_slots: of this shard.
std::string find_problem(std::span<const int64_t> slots, const RowHeader& header, int64_t num_slots);

}  // namespace engram
