#include "parallel/heartbeat.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <random>

#include "kernels/core/device_info.h"

namespace engram {
namespace {

constexpr double kBeatSeconds = 1;

// How ranks reach rank 0.
struct Invitation {
  uint64_t key = 0;
  int64_t num_addresses = 0;
  std::array<SocketAddress, 64> addresses = {};
};

Invitation invite(const DatagramSocket& socket) {
  Invitation invitation;
  std::random_device random;
  invitation.key = uint64_t{random()} << 32 | random();
  const std::vector<SocketAddress> addresses = socket.addresses();
  invitation.num_addresses = std::min(std::ssize(addresses), std::ssize(invitation.addresses));
  std::copy_n(addresses.begin(), invitation.num_addresses, invitation.addresses.begin());
  return invitation;
}

}  // namespace

struct Heartbeat::Beat {
  uint64_t key = 0;
  int64_t rank = 0;
  RankWatch::Sign sign;
};

Heartbeat::Heartbeat(Communicator& world, const Pulse& pulse, HeartbeatOptions options)
    : world_(world),
      pulse_(pulse),
      options_(std::move(options)),
      watch_(gather_texts(world, host_name()), world.rank(), options_.tick_seconds),
      routes_(static_cast<size_t>(world.size())) {
  meet();
  thread_ = std::jthread([this] { run(); });
}

Heartbeat::~Heartbeat() {
  const std::lock_guard lock(mutex_);
  stops_ = true;
  changed_.notify_all();
}

void Heartbeat::meet() {
  Invitation invitation;
  if (world_.rank() == 0) invitation = invite(socket_);
  Stream stream = CpuQueue{};
  world_.broadcast(stream, Tensor(&invitation, DType::kUInt8, {sizeof(Invitation)}), 0).wait();
  key_ = invitation.key;
  const auto begin = invitation.addresses.begin();
  if (world_.rank() != 0) routes_[0].assign(begin, begin + invitation.num_addresses);
}

void Heartbeat::run() {
  const std::chrono::duration<double> tick(options_.tick_seconds);
  const auto ticks_per_beat = static_cast<int64_t>(std::ceil(kBeatSeconds / options_.tick_seconds));
  std::unique_lock lock(mutex_);
  for (int64_t i = 0; !changed_.wait_for(lock, tick, [this] { return stops_; }); ++i) {
    receive();
    const std::string problem = watch_.tick(pulse_.state(), pulse_.limits());
    if (i % ticks_per_beat == 0) send();
    if (problem.empty()) continue;
    lock.unlock();
    return options_.end_job(problem);
  }
}

void Heartbeat::send() const {
  const Beat beat{.key = key_, .rank = world_.rank(), .sign = watch_.own()};
  for (const std::vector<SocketAddress>& route : routes_) {
    for (const SocketAddress& address : route) socket_.send(address, &beat, sizeof beat);
  }
}

void Heartbeat::receive() {
  Beat beat;
  while (const std::optional<SocketAddress> from = socket_.receive(&beat, sizeof beat)) {
    if (beat.key != key_ || beat.rank < 0 || beat.rank >= world_.size()) continue;  // not of this job
    watch_.hear(static_cast<int>(beat.rank), beat.sign);
    routes_[static_cast<size_t>(beat.rank)] = {*from};
  }
}

}  // namespace engram
