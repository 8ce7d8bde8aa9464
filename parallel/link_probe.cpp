#include "parallel/link_probe.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <limits>
#include <numeric>
#include <string>

#include "kernels/core/buffer.h"
#include "kernels/core/device.h"

namespace engram {
namespace {

constexpr int64_t kSmall = 8, kLarge = 4 << 20;
constexpr int kRepeats = 5;

// Bytes that this process has sent by the TCP sockets that it has open.
int64_t tcp_bytes_sent() {
  int64_t sum = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    tcp_info info = {};
    socklen_t size = sizeof info;
    const int file = std::stoi(entry.path().filename().string());
    if (::getsockopt(file, IPPROTO_TCP, TCP_INFO, &info, &size) == 0) sum += static_cast<int64_t>(info.tcpi_bytes_sent);
  }
  return sum;
}

// Bytes on their way between the two ranks of a group.
class Parcel {
 public:
  Parcel(Communicator& pair, Stream& stream, int64_t num_bytes)
      : pair_(pair),
        stream_(stream),
        sent_memory_(device_of(stream), num_bytes),
        back_memory_(device_of(stream), num_bytes),
        content_(static_cast<size_t>(num_bytes)) {
    std::iota(content_.begin(), content_.end(), uint8_t{1});
    copy(stream_, over(content_), over(sent_memory_));
    synchronize(stream_);
  }

  // There and back; the shortest of some.
  double round_trip_seconds() {
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < kRepeats; ++i) {
      zero(stream_, over(back_memory_));
      synchronize(stream_);
      const auto begin = std::chrono::steady_clock::now();
      pair_.broadcast(stream_, over(pair_.rank() == 0 ? sent_memory_ : back_memory_), 0).wait();
      pair_.broadcast(stream_, over(back_memory_), 1).wait();
      synchronize(stream_);
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return best;
  }

  // Whether what came back last is what was sent.
  bool is_intact() {
    std::vector<uint8_t> back(content_.size());
    copy(stream_, over(back_memory_), over(back));
    synchronize(stream_);
    return back == content_;
  }

 private:
  static Tensor over(Buffer& memory) { return Tensor(memory.data(), DType::kUInt8, {memory.num_bytes()}); }
  static Tensor over(std::vector<uint8_t>& bytes) { return Tensor(bytes.data(), DType::kUInt8, {std::ssize(bytes)}); }

  Communicator& pair_;
  Stream& stream_;
  Buffer sent_memory_, back_memory_;
  std::vector<uint8_t> content_;
};

Link probe(Communicator& pair, Stream& stream) {
  Link link;
  link.call_seconds = Parcel(pair, stream, kSmall).round_trip_seconds() / 2;
  Parcel parcel(pair, stream, kLarge);
  const int64_t sent_before = tcp_bytes_sent();
  link.bytes_per_second = 2 * static_cast<double>(kLarge) / parcel.round_trip_seconds();
  link.uses_tcp = tcp_bytes_sent() - sent_before > kRepeats * kLarge / 2;
  link.is_intact = parcel.is_intact();
  return link;
}

}  // namespace

std::vector<Link> probe_links(Communicator& group, Stream& stream) {
  std::vector<Link> links;
  for (int rank = 1; rank < group.size(); ++rank) {
    const bool is_in_pair = group.rank() == 0 || group.rank() == rank;
    const std::unique_ptr<Communicator> pair = group.split(is_in_pair ? 0 : group.rank());
    if (!is_in_pair) continue;
    Link link = probe(*pair, stream);
    link.rank = rank;
    if (group.rank() == 0) links.push_back(link);
  }
  return links;
}

}  // namespace engram
