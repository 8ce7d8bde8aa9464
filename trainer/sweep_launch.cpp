#include "trainer/sweep_launch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "trainer/exit_codes.h"
#include "trainer/sweep_run.h"

namespace engram {
namespace {

// Names of the GPUs this process may use, as CUDA_VISIBLE_DEVICES has them.
std::vector<std::string> visible_gpus() {
  std::vector<std::string> gpus;
  if (const char* chosen = std::getenv("CUDA_VISIBLE_DEVICES"); chosen != nullptr) {
    std::string name;
    for (const char* c = chosen;; ++c) {
      if (*c != ',' && *c != '\0') {
        name += *c;
        continue;
      }
      if (!name.empty()) gpus.push_back(std::exchange(name, {}));
      if (*c == '\0') return gpus;
    }
  }
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("/dev", none)) {
    const std::string name = entry.path().filename().string();
    constexpr std::string_view kPrefix = "nvidia";
    const bool is_gpu =
        name.size() > kPrefix.size() && name.starts_with(kPrefix) &&
        std::all_of(name.begin() + kPrefix.size(), name.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
    if (is_gpu) gpus.push_back(std::to_string(gpus.size()));
  }
  return gpus;
}

std::string gpus_of_slot(int64_t ranks, int64_t slot) {
  const std::vector<std::string> all = visible_gpus();
  std::string text;
  for (int64_t i = slot * ranks; i < (slot + 1) * ranks; ++i) {
    const std::string name = all.empty() ? std::to_string(i) : all[static_cast<size_t>(i) % all.size()];
    text += fmt::format("{}{}", text.empty() ? "" : ",", name);
  }
  return text;
}

}  // namespace

int64_t default_jobs(const SweepFile& file) {
  const int64_t devices = file.device == DeviceChoice::kCpu ? int64_t{std::thread::hardware_concurrency()}
                                                            : static_cast<int64_t>(visible_gpus().size());
  return std::max<int64_t>(1, devices / file.sweep.ranks);
}

Launch launch_of(const SweepFile& file, const std::string& trial_directory, int64_t slot) {
  Launch launch{.arguments = {}, .environment = {}, .output = trial_directory + "/output.log"};
  if (file.sweep.ranks > 1) {
    launch.arguments = {"mpirun", "--oversubscribe", "--bind-to", "none", "-np", std::to_string(file.sweep.ranks)};
  }
  for (const std::string& word : {own_executable(), std::string("train"), trial_directory + "/config.yaml"}) {
    launch.arguments.push_back(word);
  }
  for (const char* name : {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}) {
    if (std::getenv(name) == nullptr) launch.environment.push_back(fmt::format("{}=1", name));
  }
  if (file.device != DeviceChoice::kCpu) {
    launch.environment.push_back(fmt::format("CUDA_VISIBLE_DEVICES={}", gpus_of_slot(file.sweep.ranks, slot)));
  }
  return launch;
}

std::string slurm_script(const SweepFile& file, const std::string& sweep_path, const std::vector<int64_t>& trials,
                         int64_t jobs) {
  std::string numbers;
  for (const int64_t number : trials) numbers += fmt::format("{}{}", numbers.empty() ? "" : ",", number);
  const std::string here = std::filesystem::current_path().string();
  std::string text = "#!/bin/bash\n";
  text += fmt::format("#SBATCH --job-name={}\n#SBATCH --array={}%{}\n", file.run.name, numbers, jobs);
  text += fmt::format("#SBATCH --ntasks={}\n#SBATCH --chdir={}\n", file.sweep.ranks, here);
  text += fmt::format("#SBATCH --output={}/slurm-%A_%a.log\n", file.directory());
  text += "#SBATCH --requeue\n#SBATCH --open-mode=append\n#SBATCH --signal=B:USR2@180\n";
  for (const std::string& line : file.sweep.slurm) text += "#SBATCH " + line + "\n";
  text +=
      fmt::format("'{}' sweep run '{}' --jobs 1 --trial \"$SLURM_ARRAY_TASK_ID\" &\n", own_executable(), sweep_path);
  text += "trap 'kill -USR2 $!' TERM\ntrap 'again=1; kill -USR2 $!' USR2  # ahead of the time limit\n";
  text += "while wait $!; code=$?; kill -0 $! 2> /dev/null; do :; done  # wait comes back for a signal, too\n";
  // The nodes' daemons clean up first: a requeue kills them, and a socket that they leave stops the next start.
  text += fmt::format(
      "trap - TERM\n[ \"$again $code\" = \"1 {}\" ] && sleep 5 && scontrol requeue \"$SLURM_JOB_ID\" && sleep 300\n",
      kExitRequeue);
  text += "exit $code  # Slurm has ended the script by now, unless it refused\n";
  return text;
}

std::string last_line(const std::string& path) {
  std::ifstream file(path);
  std::string last;
  for (std::string line; std::getline(file, line);) {
    if (line.find_first_not_of(" \r\t") != std::string::npos) last = line;
  }
  return last;
}

}  // namespace engram
