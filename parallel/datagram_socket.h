#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace engram {

// Of UDP over IPv4.
struct SocketAddress {
  uint32_t host = 0;  // both in the order of the network
  uint16_t port = 0;

  bool operator==(const SocketAddress&) const = default;
};

// Small messages that may get lost. No call waits.
class DatagramSocket {
 public:
  // On a port that the system chooses, on all interfaces. Throws Unavailable where it refuses.
  DatagramSocket();
  ~DatagramSocket();
  DatagramSocket(const DatagramSocket&) = delete;
  DatagramSocket& operator=(const DatagramSocket&) = delete;

  // Where others may reach it: on this machine, and on each network that this machine is in.
  std::vector<SocketAddress> addresses() const;

  // A message that cannot be sent is lost.
  void send(const SocketAddress& to, const void* data, size_t num_bytes) const;

  // The next message of exactly num_bytes that has come, others are dropped: who sent it, and nothing where there is
  // none.
  std::optional<SocketAddress> receive(void* data, size_t num_bytes) const;

 private:
  int handle_;
};

}  // namespace engram
