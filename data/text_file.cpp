#include "data/text_file.h"

#include <fcntl.h>
#include <lzma.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <variant>
#include <vector>

#include "data/atomic_file.h"
#include "kernels/core/check.h"

namespace engram {
namespace {

constexpr uint64_t kMostMemory = uint64_t{2} << 30;  // a decoder may take
constexpr std::array<std::string_view, 3> kSuffixes{".gz", ".xz", ".zst"};

// What a decoder reads from and writes to; it moves both beginnings forward. is_last: no input follows.
struct Progress {
  std::span<const uint8_t> in;
  std::span<uint8_t> out;
  bool is_last = false;

  void advance(size_t read, size_t written) {
    in = in.subspan(read);
    out = out.subspan(written);
  }
};

// Each decoder's step() throws Error of what is wrong with the data; is_complete() tells whether the data may end here.
class PlainDecoder {
 public:
  void step(Progress& p) {
    const size_t count = std::min(p.in.size(), p.out.size());
    std::copy_n(p.in.begin(), count, p.out.begin());
    p.advance(count, count);
  }
  bool is_complete() const { return true; }
};

class GzipDecoder {
 public:
  GzipDecoder() {
    constexpr int kGzipOnly = 16;
    ENGRAM_CHECK(inflateInit2(&stream_, MAX_WBITS + kGzipOnly) == Z_OK, "zlib did not start");
  }
  ~GzipDecoder() { inflateEnd(&stream_); }
  GzipDecoder(const GzipDecoder&) = delete;
  GzipDecoder& operator=(const GzipDecoder&) = delete;

  void step(Progress& p) {
    if (is_complete_ && p.in.empty()) return;
    if (is_complete_) inflateReset(&stream_);             // the next member
    stream_.next_in = const_cast<uint8_t*>(p.in.data());  // NOLINT: zlib only reads it
    stream_.avail_in = static_cast<unsigned>(p.in.size());
    stream_.next_out = p.out.data();
    stream_.avail_out = static_cast<unsigned>(p.out.size());
    const int code = inflate(&stream_, Z_NO_FLUSH);
    ENGRAM_CHECK(code == Z_OK || code == Z_BUF_ERROR || code == Z_STREAM_END, "damaged gzip data",
                 stream_.msg == nullptr ? "" : ": ", stream_.msg == nullptr ? "" : stream_.msg);
    is_complete_ = code == Z_STREAM_END;
    p.advance(p.in.size() - stream_.avail_in, p.out.size() - stream_.avail_out);
  }
  bool is_complete() const { return is_complete_; }

 private:
  z_stream stream_{};
  bool is_complete_ = false;
};

class XzDecoder {
 public:
  XzDecoder() {
    ENGRAM_CHECK(lzma_stream_decoder(&stream_, kMostMemory, LZMA_CONCATENATED | LZMA_TELL_UNSUPPORTED_CHECK) == LZMA_OK,
                 "liblzma did not start");
  }
  ~XzDecoder() { lzma_end(&stream_); }
  XzDecoder(const XzDecoder&) = delete;
  XzDecoder& operator=(const XzDecoder&) = delete;

  void step(Progress& p) {
    stream_.next_in = p.in.data();
    stream_.avail_in = p.in.size();
    stream_.next_out = p.out.data();
    stream_.avail_out = p.out.size();
    const lzma_ret code = lzma_code(&stream_, p.is_last ? LZMA_FINISH : LZMA_RUN);
    ENGRAM_CHECK(code == LZMA_OK || code == LZMA_BUF_ERROR || code == LZMA_STREAM_END, "damaged xz data",
                 code == LZMA_MEMLIMIT_ERROR ? ", or it wants more than 2 GiB of memory" : "", " (code ",
                 static_cast<int>(code), " of liblzma)");
    is_complete_ = code == LZMA_STREAM_END;
    p.advance(p.in.size() - stream_.avail_in, p.out.size() - stream_.avail_out);
  }
  bool is_complete() const { return is_complete_; }

 private:
  lzma_stream stream_ = LZMA_STREAM_INIT;
  bool is_complete_ = false;
};

class ZstdDecoder {
 public:
  ZstdDecoder() : stream_(ZSTD_createDStream()) {
    constexpr int kLargestWindowLog = 31;  // of `zstd --long=31`, 2 GiB
    ENGRAM_CHECK(
        stream_ != nullptr && !ZSTD_isError(ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax, kLargestWindowLog)),
        "libzstd did not start");
  }
  ~ZstdDecoder() { ZSTD_freeDStream(stream_); }
  ZstdDecoder(const ZstdDecoder&) = delete;
  ZstdDecoder& operator=(const ZstdDecoder&) = delete;

  void step(Progress& p) {
    if (is_complete_ && p.in.empty()) return;
    ZSTD_inBuffer in{p.in.data(), p.in.size(), 0};
    ZSTD_outBuffer out{p.out.data(), p.out.size(), 0};
    const size_t left = ZSTD_decompressStream(stream_, &out, &in);
    ENGRAM_CHECK(!ZSTD_isError(left), "damaged zstd data: ", ZSTD_getErrorName(left));
    is_complete_ = left == 0;
    p.advance(in.pos, out.pos);
  }
  bool is_complete() const { return is_complete_; }

 private:
  ZSTD_DStream* stream_;
  bool is_complete_ = false;
};

}  // namespace

struct TextFile::State {
  std::string path;
  int file;
  std::variant<PlainDecoder, GzipDecoder, XzDecoder, ZstdDecoder> decoder;
  std::vector<uint8_t> buffer = std::vector<uint8_t>(size_t{1} << 16);
  Progress progress;
  RunningDigest digest;

  explicit State(const std::string& path_) : path(path_), file(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    ENGRAM_CHECK_AS(IoError, file >= 0, path, ": open failed: ", std::strerror(errno));
    if (path.ends_with(".gz")) decoder.emplace<GzipDecoder>();
    if (path.ends_with(".xz")) decoder.emplace<XzDecoder>();
    if (path.ends_with(".zst")) decoder.emplace<ZstdDecoder>();
  }
  ~State() { ::close(file); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void refill() {
    ssize_t count = 0;
    do count = ::read(file, buffer.data(), buffer.size());
    while (count < 0 && errno == EINTR);
    ENGRAM_CHECK_AS(IoError, count >= 0, path, ": read failed: ", std::strerror(errno));
    progress.in = std::span(buffer).first(static_cast<size_t>(count));
    digest.update(std::as_bytes(progress.in));
    progress.is_last = count == 0;
  }
  bool step() {
    return std::visit(
        [&](auto& d) {
          d.step(progress);
          return d.is_complete();
        },
        decoder);
  }
  // Until progress.out is full or the file ends.
  void decode() {
    while (!progress.out.empty()) {
      if (progress.in.empty() && !progress.is_last) refill();
      const size_t before = progress.out.size();
      const bool is_complete = step();
      if (!progress.is_last || progress.out.size() < before) continue;
      ENGRAM_CHECK(is_complete, "the compressed data ends early");
      return;
    }
  }
};

std::string_view without_compression(std::string_view path) {
  for (const std::string_view suffix : kSuffixes) {
    if (path.ends_with(suffix)) return path.substr(0, path.size() - suffix.size());
  }
  return path;
}

TextFile::TextFile(const std::string& path) : state_(std::make_unique<State>(path)) {}
TextFile::~TextFile() = default;

size_t TextFile::read(std::span<char> out) {
  State& s = *state_;
  s.progress.out = {reinterpret_cast<uint8_t*>(out.data()), out.size()};
  try {
    s.decode();
  } catch (const IoError&) {
    throw;
  } catch (const Error& error) {
    throw Error(s.path + ": " + error.what());
  }
  return out.size() - s.progress.out.size();
}

std::string TextFile::digest() const { return state_->digest.digest(); }

}  // namespace engram
