#include "trainer/host_memory.h"

#include <algorithm>
#include <fstream>

#include "kernels/core/device_info.h"

namespace engram {

int64_t available_host_bytes() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("MemAvailable:")) return std::stoll(line.substr(line.find(':') + 1)) << 10;
  }
  return 0;
}

void check_room_for_tables(int64_t num_bytes, int64_t num_ranks, int64_t available) {
  const int64_t wanted = num_bytes * num_ranks;
  ENGRAM_CHECK_AS(Unavailable, available == 0 || wanted <= available, "model.engram: the tables of the ", num_ranks,
                  " ranks of ", host_name(), " take ", wanted, " bytes of its memory, of which ", available,
                  " are left; counted are the optimizer's state and the copy of a save (none where "
                  "checkpoint.asynchronous is false); wanted fewer rows (model.engram.rows_per_head), a smaller state "
                  "(optimizer.table.kind) or more hosts");
}

void check_host_memory(Communicator& world, int64_t num_bytes) {
  const std::vector<std::string> hosts = gather_texts(world, host_name());
  const int64_t ranks_of_host = std::ranges::count(hosts, host_name());
  together(world, [&] { check_room_for_tables(num_bytes, ranks_of_host, available_host_bytes()); });
}

}  // namespace engram
