#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "parallel/communicator.h"
#include "parallel/datagram_socket.h"
#include "parallel/rank_watch.h"

namespace engram {

struct HeartbeatOptions {
  double tick_seconds = 0.1;
  std::function<void(const std::string&)> end_job;  // gets what was found, on the heartbeat's thread
};

// Notices a rank that is stopped, cut off or stuck, for which its peers would wait for ever inside MPI. A thread of
// each rank sends a sign of life every second, beside MPI: to rank 0, and rank 0 to all. Whoever misses a rank
// (RankWatch) calls end_job(), once.
class Heartbeat {
 public:
  // Watches the ranks of `world`, this one by its pulse; both must outlive the heartbeat. Collective; throws
  // Unavailable where the system refuses a socket.
  Heartbeat(Communicator& world, const Pulse& pulse, HeartbeatOptions options);
  // Waits for all ranks, at the end of their work: whoever leaves before the others is missed. Collective; throws as
  // barrier() does.
  void finish() { world_.barrier(); }
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

 private:
  struct Beat;

  void meet();
  void run();
  void send() const;
  void receive();

  Communicator& world_;
  const Pulse& pulse_;
  HeartbeatOptions options_;
  DatagramSocket socket_;
  RankWatch watch_;
  uint64_t key_ = 0;                                // of this job
  std::vector<std::vector<SocketAddress>> routes_;  // by rank: where it may be reached; empty = not known, or not asked
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stops_ = false;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace engram
