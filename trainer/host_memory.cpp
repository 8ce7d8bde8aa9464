#include "trainer/host_memory.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>
#include <vector>

#include "kernels/core/device_info.h"

namespace engram {
namespace {

// A control group with a limit of memory.
struct Group {
  int64_t limit = 0;  // bytes
  int64_t used = 0;   // of it, without the files that memory keeps at hand
  std::string source;
};

// Where a version of control groups keeps its files, and how it calls them.
struct GroupNames {
  const char *mount, *limit, *used;
  std::array<const char*, 2> kept_files;  // lines of memory.stat
};
const GroupNames kVersion1{
    "/sys/fs/cgroup/memory",
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    {"total_inactive_file", "total_active_file"},
};
const GroupNames kVersion2{"/sys/fs/cgroup", "memory.max", "memory.current", {"inactive_file", "active_file"}};
const GroupNames kVersion2Beside1{"/sys/fs/cgroup/unified", "memory.max", "memory.current", kVersion2.kept_files};

// Nothing where the file is not there or says "max".
std::optional<int64_t> number_in(const std::string& path) {
  int64_t number = 0;
  std::ifstream file(path);
  return file >> number ? std::optional(number) : std::nullopt;
}

// The number behind a line's first word; 0 where there is none.
int64_t number_after(const std::string& path, const std::string& word) {
  std::ifstream file(path);
  std::string name;
  for (int64_t number = 0; file >> name >> number; file.ignore(256, '\n')) {
    if (name == word) return number;
  }
  return 0;
}

void add_group(const std::string& root, const GroupNames& names, const std::string& path, std::vector<Group>& groups) {
  const std::string source = names.mount + path + "/", directory = root + source;
  const std::optional<int64_t> limit = number_in(directory + names.limit);
  if (!limit) return;
  int64_t used = number_in(directory + names.used).value_or(0);
  for (const char* kept : names.kept_files) used -= number_after(directory + "memory.stat", kept);
  groups.push_back({.limit = *limit, .used = std::max<int64_t>(0, used), .source = source + names.limit});
}

// A group and those above it. In a container some of their names may be those of its host, without a directory here.
void add_groups(const std::string& root, const GroupNames& names, std::string path, std::vector<Group>& groups) {
  if (path == "/") path.clear();
  for (;; path.resize(path.rfind('/'))) {
    add_group(root, names, path, groups);
    if (path.empty()) return;
  }
}

// All that limit the memory of this process. A line is NUMBER:CONTROLLERS:PATH, of version 2 without controllers.
std::vector<Group> groups_of_process(const std::string& root) {
  std::vector<Group> groups;
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos || !line.substr(second + 1).starts_with('/')) continue;
    const std::string controllers = line.substr(first, second - first) + ',', path = line.substr(second + 1);
    if (controllers == ":,") {
      for (const GroupNames& names : {kVersion2, kVersion2Beside1}) add_groups(root, names, path, groups);
    } else if (controllers.find("memory,") != std::string::npos) {
      add_groups(root, kVersion1, path, groups);
    }
  }
  return groups;
}

MemoryLimit of_machine(const std::string& root, const char* line) {
  const std::string source = "/proc/meminfo";
  return {.num_bytes = number_after(root + source, line) << 10, .source = source};
}

void lower(MemoryLimit& limit, int64_t num_bytes, const std::string& source) {
  if (limit.num_bytes == 0 || num_bytes < limit.num_bytes) limit = {std::max<int64_t>(1, num_bytes), source};
}

}  // namespace

MemoryLimit host_memory(const std::string& root) {
  MemoryLimit limit = of_machine(root, "MemTotal:");
  for (const Group& group : groups_of_process(root)) lower(limit, group.limit, group.source);
  return limit;
}

MemoryLimit available_host_memory(const std::string& root) {
  MemoryLimit limit = of_machine(root, "MemAvailable:");
  for (const Group& group : groups_of_process(root)) lower(limit, group.limit - group.used, group.source);
  return limit;
}

void check_room_for_tables(int64_t num_bytes, int64_t num_ranks, const MemoryLimit& available) {
  const int64_t wanted = num_bytes * num_ranks;
  ENGRAM_CHECK_AS(Unavailable, available.num_bytes == 0 || wanted <= available.num_bytes,
                  "model.engram: the tables of the ", num_ranks, " ranks of ", host_name(), " take ", wanted,
                  " bytes of its memory, of which ", available.num_bytes, " are left (", available.source,
                  "); counted are the optimizer's state and the copy of a save (none where "
                  "checkpoint.asynchronous is false); wanted fewer rows (model.engram.rows_per_head), a smaller state "
                  "(optimizer.table.kind), more hosts or, where a control group of the job is the limit, more memory "
                  "for the job");
}

void check_host_memory(Communicator& world, int64_t num_bytes) {
  const std::vector<std::string> hosts = gather_texts(world, host_name());
  const int64_t ranks_of_host = std::ranges::count(hosts, host_name());
  together(world, [&] { check_room_for_tables(num_bytes, ranks_of_host, available_host_memory()); });
}

}  // namespace engram
