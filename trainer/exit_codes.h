#pragma once

// What the process tells its launcher. Only main() ends the process; a killed rank shows 128 + signal.
namespace engram {

inline constexpr int kExitOk = 0;            // finished, or stopped on request
inline constexpr int kExitUsage = 64;        // command line or configuration (ConfigError): fix it, do not retry
inline constexpr int kExitData = 65;         // bad data, checkpoint or tokenizer: do not retry
inline constexpr int kExitUnavailable = 69;  // device, library or peer environment not usable: another node may do
inline constexpr int kExitInternal = 70;     // our own mistake
inline constexpr int kExitIo = 74;           // input or output failed after all retries: requeue once
inline constexpr int kExitRequeue = 75;      // preempted, time limit, peer or link lost: go on from the last checkpoint
inline constexpr int kExitGiveUp = 93;       // crash loop or numeric stop: tell a person

}  // namespace engram
