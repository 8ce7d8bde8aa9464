#include "trainer/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <iostream>
#include <map>
#include <set>

#include "kernels/core/device.h"
#include "trainer/exit_codes.h"
#include "trainer/progress.h"

namespace engram {
namespace {

struct Outcome {
  Verdict verdict = Verdict::kOk;
  std::string text;
};

Outcome failed(const std::string& text) { return {Verdict::kFailed, text}; }

std::string limit_text(int64_t bytes) { return bytes == kUnlimited ? "unlimited" : bytes_text(bytes); }

std::string name_of_rank(const JobFacts& job, size_t rank) {
  return fmt::format("rank {} on {}", rank, job.ranks[rank].host);
}

// Asks of each rank what is wrong with it, "" for nothing, and tells the first answer.
Outcome each_rank(const JobFacts& job, const std::string& fine,
                  const std::function<std::string(const RankFacts&)>& problem_of) {
  std::string first;
  int64_t count = 0;
  for (size_t rank = 0; rank < job.ranks.size(); ++rank) {
    const std::string problem = problem_of(job.ranks[rank]);
    if (!problem.empty() && count++ == 0) first = name_of_rank(job, rank) + ": " + problem;
  }
  if (count == 0) return {Verdict::kOk, fine};
  return failed(count == 1 ? first : fmt::format("{} (and {} ranks more)", first, count - 1));
}

// Versions from first to last of a library give wrong results or hang in calls that this program makes.
struct KnownBad {
  const char *library, *first, *last, *why, *source;
};
constexpr KnownBad kKnownBad[] = {
    {"OpenBLAS", "0.3.4", "0.3.6", "wrong products of double matrices with AVX-512", "OpenBLAS issue 2182"},
    {"OpenBLAS", "0.3.11", "0.3.11", "wrong products of float matrices with AVX-512", "OpenBLAS issue 2914"},
    {"Open MPI", "3.1.3", "3.1.3", "all-to-all over shared memory hangs", "Open MPI issue 6088"},
    {"NCCL", "2.10.3", "2.11.4", "wrong bytes where an NVLink is down", "NCCL issue 596"},
    {"NCCL", "2.12.7", "2.12.9", "hangs where a rank sends another nothing", "NCCL issue 695"},
};

// "4.1.12" as {4, 1, 12}; comparable.
std::array<int, 3> version_numbers(const std::string& version) {
  std::array<int, 3> numbers = {};
  std::sscanf(version.c_str(), "%d.%d.%d", &numbers[0], &numbers[1], &numbers[2]);
  return numbers;
}

// What is wrong with the copy of a library that a rank has found; `first` is that of rank 0.
std::string library_problem(const LibraryVersion& library, const LibraryVersion& first) {
  if (library.found.empty()) return "its version cannot be told; wanted " + library.built;
  const auto found = version_numbers(library.found), built = version_numbers(library.built);
  if (!library.built.empty() && !std::equal(found.begin(), found.begin() + 2, built.begin())) {
    return fmt::format("{} was found, but the program was built with {}; load that, or build again here", library.found,
                       library.built);
  }
  if (library.found != first.found) {
    return fmt::format("{}, but rank 0 has {}; install one version on all hosts", library.found, first.found);
  }
  for (const KnownBad& bad : kKnownBad) {
    if (library.name != bad.library || found < version_numbers(bad.first) || found > version_numbers(bad.last))
      continue;
    return fmt::format("{} is known for {} ({}); install a newer one", library.found, bad.why, bad.source);
  }
  return "";
}

Outcome judge_library(const JobFacts& job, const LibraryVersion& first) {
  return each_rank(job, first.found, [&](const RankFacts& rank) {
    const auto is_same = [&](const LibraryVersion& library) { return library.name == first.name; };
    const auto own = std::find_if(rank.libraries.begin(), rank.libraries.end(), is_same);
    return own == rank.libraries.end() ? "not there, but rank 0 has it" : library_problem(*own, first);
  });
}

Outcome judge_configuration(const JobFacts& job) {
  if (!job.config_problem.empty()) return failed(job.config_problem);
  if (!job.checkpoint_bytes) return {Verdict::kNotThere, "none was given"};
  return {Verdict::kOk, fmt::format("fits {} ranks", job.ranks.size())};
}

// The slowest link to each host, and what carries its bytes.
std::string links_text(const JobFacts& job, const std::vector<Link>& links) {
  std::map<std::string, Link> slowest;
  for (const Link& link : links) {
    const std::string& host = job.ranks[static_cast<size_t>(link.rank)].host;
    const auto [at, is_first] = slowest.emplace(host, link);
    if (!is_first && link.bytes_per_second < at->second.bytes_per_second) at->second = link;
  }
  std::string text = "from rank 0 on " + job.ranks[0].host;
  for (const auto& [host, link] : slowest) {
    const char* way = link.uses_tcp ? "TCP" : host == job.ranks[0].host ? "memory" : "a fabric other than TCP";
    text += fmt::format("; to rank {} on {} by {}, {}B/s, {:.1f} us a call", link.rank, host, way,
                        scaled_text(link.bytes_per_second), link.call_seconds * 1e6);
  }
  return text;
}

// A link whose bytes arrive changed; "" for none.
std::string broken_link(const JobFacts& job, const std::vector<Link>& links) {
  const auto broken = std::find_if(links.begin(), links.end(), [](const Link& link) { return !link.is_intact; });
  if (broken == links.end()) return "";
  return fmt::format("bytes from rank 0 on {} to {} and back come changed; take that host out of the job",
                     job.ranks[0].host, name_of_rank(job, static_cast<size_t>(broken->rank)));
}

// What to look at where links are slower than they could be.
struct Advice {
  const char *same_host, *infiniband;
};

// A link by TCP where there is something better; "" for none.
std::string slow_link(const JobFacts& job, const std::vector<Link>& links, const Advice& advice) {
  for (const Link& link : links) {
    if (!link.uses_tcp) continue;
    const RankFacts& peer = job.ranks[static_cast<size_t>(link.rank)];
    const std::string who = name_of_rank(job, static_cast<size_t>(link.rank));
    if (peer.host == job.ranks[0].host) {
      return fmt::format("rank 0 reaches {}, its own host, by TCP instead of memory; {}", who, advice.same_host);
    }
    if (peer.has_infiniband && job.ranks[0].has_infiniband) {
      return fmt::format("rank 0 reaches {} by TCP although both hosts have InfiniBand; {}", who, advice.infiniband);
    }
  }
  return "";
}

Outcome judge_links(const JobFacts& job, const std::vector<Link>& links, const Advice& advice) {
  if (const std::string broken = broken_link(job, links); !broken.empty()) return failed(broken);
  if (const std::string slow = slow_link(job, links, advice); !slow.empty()) return failed(slow);
  return {Verdict::kOk, links_text(job, links)};
}

Outcome judge_mpi_transport(const JobFacts& job) {
  if (job.links.empty()) return {Verdict::kNotThere, "one rank; start the doctor by mpirun to see"};
  return judge_links(job, job.links,
                     {.same_host = "look for --mca btl or pml on the command line and OMPI_MCA_* in the environment",
                      .infiniband = "Open MPI with UCX would use it (ompi_info | grep ucx), in a container as well"});
}

Outcome judge_nccl_transport(const JobFacts& job) {
  if (!job.card_problem.empty()) return failed(job.card_problem);
  if (job.card_links.empty()) return {Verdict::kNotThere, "one rank, or no card that it would use"};
  return judge_links(job, job.card_links,
                     {.same_host = "look at NCCL_P2P_DISABLE, NCCL_SHM_DISABLE and the size of /dev/shm",
                      .infiniband = "look at NCCL_IB_DISABLE and NCCL_NET"});
}

// What is free, and how soon the ranks together write a checkpoint there: the slowest holds up the rest.
std::string disk_text(const JobFacts& job) {
  double slowest = job.ranks[0].disk_bytes_per_second;
  for (const RankFacts& rank : job.ranks) slowest = std::min(slowest, rank.disk_bytes_per_second);
  const double together = slowest * static_cast<double>(job.ranks.size());
  std::string text = fmt::format("{}: {} free, written at {}B/s", job.directory,
                                 bytes_text(job.ranks[0].disk_free_bytes), scaled_text(together));
  if (!job.checkpoint_bytes) return text;
  const double seconds = static_cast<double>(*job.checkpoint_bytes) / together;
  return text + fmt::format(", a checkpoint takes {} and {}", bytes_text(*job.checkpoint_bytes),
                            duration_text(std::ceil(seconds)));
}

Outcome judge_disk(const JobFacts& job) {
  const int64_t wanted = job.checkpoint_bytes.value_or(0);
  return each_rank(job, disk_text(job), [&](const RankFacts& rank) -> std::string {
    if (!rank.disk_problem.empty()) return rank.disk_problem + "; mend it, or name another directory (run.dir)";
    if (rank.disk_free_bytes >= wanted) return "";
    return fmt::format("{}: {} free, a checkpoint takes {}; make room, or name another directory (run.dir)",
                       job.directory, bytes_text(rank.disk_free_bytes), bytes_text(wanted));
  });
}

Outcome judge_clocks(const JobFacts& job) {
  constexpr double kWanted = 1;  // second: beyond that, the logs of hosts cannot be read together
  double worst = 0;
  const auto seconds_ahead = [&](const RankFacts& rank) {
    double best = 0;
    for (size_t i = 0; i < rank.clock_micros.size(); ++i) {  // a barrier that a rank left late says less
      const double ahead = static_cast<double>(rank.clock_micros[i] - job.ranks[0].clock_micros[i]) * 1e-6;
      if (i == 0 || std::abs(ahead) < std::abs(best)) best = ahead;
    }
    return best;
  };
  for (const RankFacts& rank : job.ranks) worst = std::max(worst, std::abs(seconds_ahead(rank)));
  return each_rank(job, fmt::format("at most {:.3g} ms from rank 0's", worst * 1e3), [&](const RankFacts& rank) {
    const double ahead = seconds_ahead(rank);
    if (std::abs(ahead) <= kWanted) return std::string();
    return fmt::format("{:.1f} seconds {} rank 0's; let both hosts ask a time server (chrony)", std::abs(ahead),
                       ahead > 0 ? "ahead of" : "behind");
  });
}

Outcome judge_open_files(const JobFacts& job) {
  const int64_t wanted = 256 + 4 * std::ssize(job.ranks);  // libraries and data; sockets to every rank
  return each_rank(job, fmt::format("{} wanted", wanted), [&](const RankFacts& rank) -> std::string {
    if (rank.open_files == kUnlimited || rank.open_files >= wanted) return "";
    return fmt::format("{} may be open, wanted {}; ulimit -n {}, or LimitNOFILE of the daemon that starts ranks",
                       rank.open_files, wanted, std::max<int64_t>(wanted, 4096));
  });
}

Outcome judge_locked_memory(const JobFacts& job) {
  constexpr int64_t kWanted = int64_t{1} << 30;
  const bool matters = std::any_of(job.ranks.begin(), job.ranks.end(), [](auto& rank) { return rank.has_infiniband; });
  if (!matters) return {Verdict::kOk, "no InfiniBand, which alone needs more than the usual"};
  return each_rank(job, limit_text(job.ranks[0].locked_bytes), [&](const RankFacts& rank) -> std::string {
    if (!rank.has_infiniband || rank.locked_bytes == kUnlimited || rank.locked_bytes >= kWanted) return "";
    return fmt::format(
        "{} may be locked, InfiniBand wants {} or more; ulimit -l unlimited, or LimitMEMLOCK of the "
        "daemon that starts ranks",
        limit_text(rank.locked_bytes), bytes_text(kWanted));
  });
}

// Ranks of each host, in the order of the first.
std::vector<std::vector<size_t>> ranks_by_host(const JobFacts& job) {
  std::map<std::string, std::vector<size_t>> by_host;
  for (size_t rank = 0; rank < job.ranks.size(); ++rank) by_host[job.ranks[rank].host].push_back(rank);
  std::vector<std::vector<size_t>> groups;
  for (const auto& [host, ranks] : by_host) groups.push_back(ranks);
  std::sort(groups.begin(), groups.end());
  return groups;
}

Outcome judge_shared_memory(const JobFacts& job) {
  constexpr int64_t kPerRank = 16 << 20;  // Open MPI's segment of a rank has 4 MiB; NCCL's buffers have more
  for (const std::vector<size_t>& ranks : ranks_by_host(job)) {
    const RankFacts& first = job.ranks[ranks[0]];
    const int64_t wanted = kPerRank * std::ssize(ranks);
    if (first.shared_memory_bytes >= wanted) continue;
    return failed(
        fmt::format("{}: {} free in /dev/shm, wanted {}, 16 MiB a rank; remove what was left there, or give more "
                    "(docker: --shm-size, --ipc=host)",
                    first.host, bytes_text(first.shared_memory_bytes), bytes_text(wanted)));
  }
  return {Verdict::kOk, bytes_text(job.ranks[0].shared_memory_bytes) + " free in /dev/shm"};
}

Outcome judge_cores(const JobFacts& job) {
  std::string text;
  for (const std::vector<size_t>& ranks : ranks_by_host(job)) {
    const std::string& host = job.ranks[ranks[0]].host;
    std::set<int> cores;
    for (const size_t rank : ranks) cores.insert(job.ranks[rank].cores.begin(), job.ranks[rank].cores.end());
    if (cores.size() < ranks.size()) {
      return failed(
          fmt::format("{}: {} ranks share {} cores and wait for each other; start fewer, or look at what "
                      "binds them (mpirun --bind-to, srun --cpus-per-task)",
                      host, ranks.size(), cores.size()));
    }
    text += fmt::format("{}{} for {} on {}", text.empty() ? "" : ", ", cores.size(), ranks.size(), host);
  }
  return {Verdict::kOk, text};
}

std::string card_problem(const GpuHealth& card) {
  if (!card.error.empty()) return fmt::format("{}: {}; reset it, or start the machine again", card.name, card.error);
  if (card.uncorrected_errors > 0) {
    return fmt::format("{}: {} memory errors that ECC could not correct; reset it, and replace it if they come back",
                       card.name, card.uncorrected_errors);
  }
  if (card.has_failed_remap) return card.name + ": memory rows that fail cannot be replaced any more; replace the card";
  if (card.has_pending_remap) return card.name + ": memory rows wait to be replaced; reset it (nvidia-smi --gpu-reset)";
  if (card.is_slowed)
    return card.name + ": slowed by its temperature or power supply; see nvidia-smi -q -d PERFORMANCE";
  return "";
}

Outcome judge_cards(const JobFacts& job) {
  if (!job.may_use_cards) return {Verdict::kNotThere, "device: cpu"};
  const RankFacts& first = job.ranks[0];
  const bool has_any = std::any_of(job.ranks.begin(), job.ranks.end(),
                                   [](const RankFacts& rank) { return rank.num_cards > 0 || !rank.gpus.empty(); });
  if (!has_any && !job.wants_cards) return {Verdict::kNotThere, "no card of NVIDIA"};
  const std::string fine = fmt::format("NVML sees {}, CUDA {}{}", first.gpus.size(), first.num_cards,
                                       built_with_cuda() ? "" : " (the program is built without it)");
  return each_rank(job, fine, [&](const RankFacts& rank) -> std::string {
    for (const GpuHealth& card : rank.gpus) {
      if (const std::string problem = card_problem(card); !problem.empty()) return problem;
    }
    if (!rank.card_error.empty()) return rank.card_error + "; reset its card, or take another host";
    if (rank.num_cards > 0 || !(job.wants_cards || built_with_cuda())) return "";
    if (!built_with_cuda()) return "device: cuda, but the program is built without CUDA; build it where nvcc is";
    if (rank.gpus.empty()) return "no card, but others have one or the configuration wants it; take another host";
    return fmt::format("NVML sees {} cards, CUDA none; look at CUDA_VISIBLE_DEVICES, and whether the driver is old",
                       rank.gpus.size());
  });
}

struct Check {
  const char* name;
  Outcome (*judge)(const JobFacts&);
};
constexpr Check kChecks[] = {
    {"configuration", judge_configuration},
    {"MPI transport", judge_mpi_transport},
    {"NCCL transport", judge_nccl_transport},
    {"run directory", judge_disk},
    {"clocks", judge_clocks},
    {"open files", judge_open_files},
    {"locked memory", judge_locked_memory},
    {"shared memory", judge_shared_memory},
    {"cores, ranks", judge_cores},
    {"cards", judge_cards},
};

const char* name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kFailed:
      return "FAILED";
    case Verdict::kNotThere:
      return "not there";
  }
  return "";
}

}  // namespace

std::vector<Finding> diagnose(const JobFacts& job) {
  std::vector<Finding> findings;
  const auto add = [&](const std::string& check, const Outcome& outcome) {
    findings.push_back({.check = check, .verdict = outcome.verdict, .text = outcome.text});
  };
  for (const LibraryVersion& library : job.ranks[0].libraries) add(library.name, judge_library(job, library));
  for (const Check& check : kChecks) add(check.name, check.judge(job));
  return findings;
}

int run_doctor(Communicator& world, const DoctorCommand& command) {
  const JobFacts job = gather_facts(world, command);
  int64_t num_failed = 0;
  if (world.rank() == 0) {
    for (const Finding& finding : diagnose(job)) {
      num_failed += finding.verdict == Verdict::kFailed ? 1 : 0;
      std::cout << fmt::format("{:<9}  {:<14}  {}\n", name_of(finding.verdict), finding.check, finding.text);
    }
    std::cout << std::flush;
  }
  all_reduce_max<int64_t>(world, std::span(&num_failed, 1));
  return num_failed == 0 ? kExitOk : kExitUnavailable;
}

}  // namespace engram
