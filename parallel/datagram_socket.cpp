#include "parallel/datagram_socket.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "kernels/core/check.h"

namespace engram {
namespace {

sockaddr_in to_system(const SocketAddress& address) {
  sockaddr_in system = {};
  system.sin_family = AF_INET;
  system.sin_addr.s_addr = address.host;
  system.sin_port = address.port;
  return system;
}

void check_system(bool is_well, const char* call) {
  ENGRAM_CHECK_AS(Unavailable, is_well, call, " for UDP: ", std::strerror(errno),
                  "; wanted a socket over IPv4 for signs of life between ranks");
}

}  // namespace

DatagramSocket::DatagramSocket() : handle_(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
  check_system(handle_ >= 0, "socket");
  const sockaddr_in any = to_system({.host = INADDR_ANY, .port = 0});
  check_system(::bind(handle_, reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0, "bind");
}

DatagramSocket::~DatagramSocket() { ::close(handle_); }

std::vector<SocketAddress> DatagramSocket::addresses() const {
  sockaddr_in own = {};
  socklen_t size = sizeof own;
  check_system(::getsockname(handle_, reinterpret_cast<sockaddr*>(&own), &size) == 0, "getsockname");
  ifaddrs* interfaces = nullptr;
  check_system(::getifaddrs(&interfaces) == 0, "getifaddrs");
  std::vector<SocketAddress> addresses;
  for (const ifaddrs* each = interfaces; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr || each->ifa_addr->sa_family != AF_INET || (each->ifa_flags & IFF_UP) == 0) continue;
    const uint32_t host = reinterpret_cast<const sockaddr_in*>(each->ifa_addr)->sin_addr.s_addr;
    addresses.push_back({.host = host, .port = own.sin_port});
  }
  ::freeifaddrs(interfaces);
  return addresses;
}

void DatagramSocket::send(const SocketAddress& to, const void* data, size_t num_bytes) const {
  const sockaddr_in address = to_system(to);
  (void)::sendto(handle_, data, num_bytes, 0, reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

std::optional<SocketAddress> DatagramSocket::receive(void* data, size_t num_bytes) const {
  while (true) {
    sockaddr_in from = {};
    socklen_t size = sizeof from;
    // With MSG_TRUNC it returns the size of the message, however much of it there is room for.
    const ssize_t got = ::recvfrom(handle_, data, num_bytes, MSG_TRUNC, reinterpret_cast<sockaddr*>(&from), &size);
    if (got < 0) return std::nullopt;
    if (got == static_cast<ssize_t>(num_bytes)) return SocketAddress{from.sin_addr.s_addr, from.sin_port};
  }
}

}  // namespace engram
