#include "trainer/doctor_facts.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "data/atomic_file.h"
#include "data/file_lock.h"
#include "data/hdf5_file.h"
#include "kernels/core/device_info.h"
#include "kernels/cpu_gemm.h"
#include "parallel/mpi_communicator.h"
#include "trainer/compute.h"
#include "trainer/config.h"
#include "trainer/estimate.h"
#include "trainer/stopwatch.h"

namespace engram {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LibraryVersion, name, built, found);
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(GpuHealth, name, error, uncorrected_errors, has_pending_remap, has_failed_remap,
                                   is_slowed);
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RankFacts, host, libraries, clock_micros, open_files, locked_bytes, has_infiniband,
                                   shared_memory_bytes, cores, num_cards, card_error, gpus, disk_problem,
                                   disk_free_bytes, disk_bytes_per_second);

namespace {

namespace fs = std::filesystem;

int64_t limit_of(__rlimit_resource resource) {
  rlimit limit{};
  getrlimit(resource, &limit);
  return limit.rlim_cur == RLIM_INFINITY ? kUnlimited : static_cast<int64_t>(limit.rlim_cur);
}

int64_t free_bytes(const std::string& directory) {
  std::error_code none;  // 0 where there is no such directory
  const fs::space_info space = fs::space(directory, none);
  return none ? 0 : static_cast<int64_t>(space.available);
}

// Whether a port's link is InfiniBand: the system lists cards of Ethernet that speak its protocol as well.
bool has_infiniband() {
  std::error_code none;
  for (const auto& card : fs::directory_iterator("/sys/class/infiniband", none)) {
    for (const auto& port : fs::directory_iterator(card.path() / "ports", none)) {
      std::ifstream file(port.path() / "link_layer");
      if (std::string kind; file >> kind && kind == "InfiniBand") return true;
    }
  }
  return false;
}

std::vector<int64_t> clock_after_barriers(Communicator& world) {
  constexpr int kBarriers = 5;
  std::vector<int64_t> micros;
  for (int i = 0; i < kBarriers; ++i) {
    world.barrier();
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    micros.push_back(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
  }
  return micros;
}

// What a checkpoint asks of its disk: exclusive creation, rename, syncs, reading back of 16 MiB; and the locks of
// sweeps. Returns the bytes per second of writing.
double try_disk(const std::string& path) {
  constexpr size_t kBytes = 16 << 20;
  std::string contents(kBytes, '\0');
  for (size_t i = 0; i < kBytes; ++i) contents[i] = static_cast<char>(i * 31 + i / 251);
  double seconds = 0;
  {
    const Stopwatch watch(seconds);
    write_file_atomically(path, contents);
  }
  ENGRAM_CHECK_AS(IoError, digest_of_file(path) == digest_of(std::as_bytes(std::span(contents))), path,
                  ": what is read back is not what was written");
  const int second = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (second >= 0) ::close(second);
  ENGRAM_CHECK_AS(IoError, second < 0, path, ": was created as new although it was there (O_EXCL)");
  const FileLock lock(path, /*wait=*/false);
  ENGRAM_CHECK_AS(IoError, lock.held(), path, ": a new file is locked (flock)");
  return static_cast<double>(kBytes) / seconds;
}

// Each rank tries a file of its own there, and sees that of rank 0. Collective.
void look_at_disk(Communicator& world, const std::string& directory, RankFacts& facts) {
  const std::string key = broadcast_text(world, std::to_string(::getpid()));
  const auto path_of = [&](int rank) { return directory + "/.engram-doctor." + key + "." + std::to_string(rank); };
  const std::string own = path_of(world.rank());
  std::string& problem = facts.disk_problem;
  try {
    facts.disk_bytes_per_second = try_disk(own);
  } catch (const std::exception& error) {
    problem = error.what();
  }
  const bool is_made = broadcast_text(world, problem).empty();  // that of rank 0
  std::error_code ignored;
  if (problem.empty() && is_made && !fs::exists(path_of(0), ignored)) {
    problem = directory + ": does not show the file that rank 0 made in it; wanted one that all hosts share";
  }
  world.barrier();
  fs::remove(own, ignored);
  facts.disk_free_bytes = free_bytes(directory);
}

// Adds the libraries that work with a card.
void add_card_libraries(int card, std::vector<LibraryVersion>& found) {
  const DeviceInfo info = device_info(make_stream(Device::kCuda, card));
  for (const auto& [name, version] : {std::pair{"GPU driver", info.driver},
                                      {"CUDA", info.cuda},
                                      {"cuBLAS", info.cublas},
                                      {"cuDNN", info.cudnn},
                                      {"NCCL", info.nccl}}) {
    if (!version.empty()) found.push_back(library_version(name, "", version));
  }
}

RankFacts look(Communicator& world, const std::string& directory) {
  RankFacts facts;
  facts.host = host_name();
  facts.clock_micros = clock_after_barriers(world);
  facts.open_files = limit_of(RLIMIT_NOFILE);
  facts.locked_bytes = limit_of(RLIMIT_MEMLOCK);
  facts.has_infiniband = has_infiniband();
  facts.shared_memory_bytes = free_bytes("/dev/shm");
  facts.cores =
      usable_cores([](size_t num_bytes, cpu_set_t* set) { return sched_getaffinity(0, num_bytes, set) == 0; });
  facts.num_cards = num_cuda_devices();
  look_at_disk(world, directory, facts);
  facts.libraries = {mpi_version(), hdf5_version(), openblas_version()};
  try {
    if (facts.num_cards > 0) {
      add_card_libraries(static_cast<int>(world.local_rank() % facts.num_cards), facts.libraries);
    }
  } catch (const Error& error) {
    facts.card_error = error.what();
  }
  facts.gpus = gpu_health();
  return facts;
}

// Measures NCCL where every rank has a card of its own; else says why not, if anybody has one.
void probe_cards(Communicator& world, JobFacts& job) {
  int64_t most_cards = job.may_use_cards ? num_cuda_devices() : 0;
  all_reduce_max<int64_t>(world, std::span(&most_cards, 1));
  if (most_cards == 0 || world.size() == 1) return;
  try {
    RunConfig config;
    config.device = DeviceChoice::kCuda;
    config.parallel.timeout_seconds = 60;  // a link that hangs ends the job then
    const std::unique_ptr<Communicator> cards = make_cards(config, world);
    Stream stream = make_compute_stream(config, world);
    job.card_links = probe_links(*cards, stream);
  } catch (const Error& error) {
    job.card_problem = error.what();
  }
}

}  // namespace

std::vector<int> usable_cores(bool (*ask)(size_t num_bytes, cpu_set_t* set)) {
  constexpr int kMostCores = 1 << 20;
  const auto release = [](cpu_set_t* set) { CPU_FREE(set); };
  std::vector<int> cores;
  for (int room = CPU_SETSIZE; room <= kMostCores; room *= 2) {
    const std::unique_ptr<cpu_set_t, decltype(release)> set(CPU_ALLOC(static_cast<size_t>(room)));
    const size_t num_bytes = CPU_ALLOC_SIZE(static_cast<size_t>(room));
    CPU_ZERO_S(num_bytes, set.get());
    if (!ask(num_bytes, set.get())) continue;
    for (int core = 0; core < room; ++core) {
      if (CPU_ISSET_S(static_cast<size_t>(core), num_bytes, set.get())) cores.push_back(core);
    }
    break;
  }
  return cores;
}

JobFacts gather_facts(Communicator& world, const DoctorCommand& command) {
  JobFacts job;
  RunConfig config;
  if (!command.config.empty()) config = load_config(command.config, command.sets);
  job.wants_cards = config.device == DeviceChoice::kCuda;
  job.may_use_cards = job.wants_cards || command.config.empty();
  const std::string directory = command.directory.empty() ? config.run.dir : command.directory;
  job.directory = broadcast_text(world, existing_directory(directory));  // a host that lacks a mount has another
  if (!command.config.empty()) {
    try {
      check_trainable(config);
      check_world(config, world.size());
      job.checkpoint_bytes = checkpoint_bytes(config, world.size());
    } catch (const ConfigError& error) {
      job.config_problem = error.what();
    }
  }
  const nlohmann::json own = look(world, job.directory);
  using Json = nlohmann::json;
  for (const std::string& text : gather_texts(world, own.dump(-1, ' ', false, Json::error_handler_t::replace))) {
    job.ranks.push_back(Json::parse(text).get<RankFacts>());
  }
  Stream host = CpuQueue{};
  job.links = probe_links(world, host);
  probe_cards(world, job);
  return job;
}

}  // namespace engram
