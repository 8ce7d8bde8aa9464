#pragma once

#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <string>
#include <string_view>

#include "kernels/core/check.h"

namespace engram::test {

inline std::string gzip(std::string_view text) {
  z_stream stream{};
  constexpr int kGzipOnly = 16, kMemoryLevel = 8;
  ENGRAM_CHECK(deflateInit2(&stream, 6, Z_DEFLATED, MAX_WBITS + kGzipOnly, kMemoryLevel, Z_DEFAULT_STRATEGY) == Z_OK,
               "gzip");
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<unsigned>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<unsigned>(out.size());
  ENGRAM_CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END, "gzip");
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

inline std::string xz(std::string_view text) {
  std::string out(lzma_stream_buffer_bound(text.size()), '\0');
  size_t size = 0;
  ENGRAM_CHECK(
      lzma_easy_buffer_encode(1, LZMA_CHECK_CRC64, nullptr, reinterpret_cast<const uint8_t*>(text.data()), text.size(),
                              reinterpret_cast<uint8_t*>(out.data()), &size, out.size()) == LZMA_OK,
      "xz");
  out.resize(size);
  return out;
}

// With a checksum, as the program zstd writes it.
inline std::string zst(std::string_view text) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  std::string out(ZSTD_compressBound(text.size()), '\0');
  const size_t size = ZSTD_compress2(context, out.data(), out.size(), text.data(), text.size());
  ZSTD_freeCCtx(context);
  ENGRAM_CHECK(!ZSTD_isError(size), "zstd");
  out.resize(size);
  return out;
}

// By the suffix of a file: .gz, .xz or .zst.
inline std::string compressed(std::string_view suffix, std::string_view text) {
  return suffix == ".gz" ? gzip(text) : suffix == ".xz" ? xz(text) : zst(text);
}

}  // namespace engram::test
