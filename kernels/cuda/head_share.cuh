#pragma once

#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vec.cuh"

namespace engram {

// A warp works on one position at a time, `lanes` neighbouring threads on each of its heads. A thread has kWidth
// neighbouring channels of the lower half of a head, those of the upper half that are paired with them, and the next
// such run after kWidth * lanes channels, kRounds in all.
template <class T, int kWidth, int kRounds>
struct Share {
  using Acc = Accumulator<T>;
  using Channels = Acc[kRounds][2][kWidth];            // of the lower and the upper half
  using Raws = Raw<T, kWidth>[kRounds][2];             // the same as they lie in memory
  static constexpr int kAtOnce = kWidth == 1 ? 1 : 2;  // heads fetched before the first is worked on

  int lanes, half;

  __device__ int num_groups() const { return kWarpSize / lanes; }
  __device__ int group() const { return static_cast<int>(threadIdx.x) % kWarpSize / lanes; }
  __device__ int channel(int round) const { return (round * lanes + static_cast<int>(threadIdx.x) % lanes) * kWidth; }

  // Channels past the head's are left as they are: 0.
  __device__ void fetch(const T* head, Raws& to) const {
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
      if (channel(round) >= half) continue;
#pragma unroll
      for (int part = 0; part < 2; ++part) to[round][part] = load_raw<T, kWidth>(head + channel(round) + part * half);
    }
  }
  __device__ static void widen(const Raws& from, Channels& to) {
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const auto values = unpack<T, kWidth>(from[round][part]);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) to[round][part][i] = values.at[i];
      }
    }
  }
  __device__ void write(const Channels& from, T* head) const {
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
      if (channel(round) >= half) continue;
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        Values<T, kWidth> values;
#pragma unroll
        for (int i = 0; i < kWidth; ++i) values.at[i] = from[round][part][i];
        store<T, kWidth>(head + channel(round) + part * half, values);
      }
    }
  }
  // Cosines as part 0, sines as part 1.
  __device__ void read_angles(const Acc* angles, Channels& to) const {
    constexpr int kCount = kWidth == 1 ? 2 : 4;  // numbers at once
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
      if (channel(round) >= half) continue;
#pragma unroll
      for (int i = 0; i < 2 * kWidth; i += kCount) {
        const auto pairs = load<Acc, kCount>(angles + 2 * channel(round) + i);
#pragma unroll
        for (int j = 0; j < kCount; ++j) to[round][j % 2][(i + j) / 2] = pairs.at[j];
      }
    }
  }

  // Calls body(round, part, i) for every channel of this thread.
  template <class Body>
  __device__ static void for_each(Body&& body) {
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
#pragma unroll
      for (int part = 0; part < 2; ++part) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) body(round, part, i);
      }
    }
  }
  // Turns by the angles, or back by them where `direction` is -1.
  __device__ static void turn(const Channels& angles, Acc direction, Channels& x) {
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const Acc cosine = angles[round][0][i], sine = direction * angles[round][1][i];
        const Acc low = x[round][0][i], high = x[round][1][i];
        x[round][0][i] = low * cosine - high * sine;
        x[round][1][i] = low * sine + high * cosine;
      }
    }
  }

  // Adds over the lanes of a head, on each of them.
  __device__ Acc sum(Acc value) const {
    for (int offset = lanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
    return value;
  }
  __device__ Acc inverse_rms(const Channels& x, Acc eps) const {
    Acc squares = 0;
    for_each([&](int round, int part, int i) { squares += x[round][part][i] * x[round][part][i]; });
    return 1 / sqrt(sum(squares) / Acc(2 * half) + eps);
  }
};

}  // namespace engram
