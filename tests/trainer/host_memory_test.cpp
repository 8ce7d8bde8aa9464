#include "trainer/host_memory.h"

#include <gtest/gtest.h>

#include "tests/data/temporary_directory.h"

namespace engram {
namespace {

// A machine of 4,000 KiB, of which 3,000 are left, as files below a directory.
struct HostMemoryTest : ::testing::Test {
  test::TemporaryDirectory root;

  void SetUp() override { write("/proc/meminfo", "MemTotal:     4000 kB\nMemFree:  9 kB\nMemAvailable: 3000 kB\n"); }
  void write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(root.path() + path).parent_path());
    test::write_file(root.path() + path, text);
  }
  void expect(int64_t total, const std::string& total_source, int64_t left, const std::string& left_source) const {
    const MemoryLimit all = host_memory(root.path()), available = available_host_memory(root.path());
    EXPECT_EQ(all.num_bytes, total);
    EXPECT_EQ(all.source, total_source);
    EXPECT_EQ(available.num_bytes, left);
    EXPECT_EQ(available.source, left_source);
  }
};

const std::string kMachine = "/proc/meminfo";
constexpr int64_t kTotal = 4000 << 10, kLeft = 3000 << 10;

TEST_F(HostMemoryTest, WithoutGroupsIsThatOfTheMachine) {
  expect(kTotal, kMachine, kLeft, kMachine);
  write("/proc/self/cgroup", "0::/\n");
  expect(kTotal, kMachine, kLeft, kMachine);
}

TEST_F(HostMemoryTest, OfVersion2IsTheLeastOfAllGroupsAbove) {
  write("/proc/self/cgroup", "0::/slurm/job_7/step_0\n");
  const std::string job = "/sys/fs/cgroup/slurm/job_7/";
  write(job + "step_0/memory.max", "max\n");
  write(job + "step_0/memory.current", "500\n");
  expect(kTotal, kMachine, kLeft, kMachine);
  write(job + "memory.max", "100000\n");
  write(job + "memory.current", "70000\n");
  expect(100000, job + "memory.max", 30000, job + "memory.max");
  write(job + "memory.stat", "anon 20000\ninactive_file 10000\nactive_file 40000\nfile 50000\n");
  expect(100000, job + "memory.max", 80000, job + "memory.max");
  const std::string slurm = "/sys/fs/cgroup/slurm/memory.";  // more in all, less is left
  write(slurm + "max", "200000\n");
  write(slurm + "current", "150000\n");
  expect(100000, job + "memory.max", 50000, slurm + "max");
  write(job + "memory.current", "200000\n");  // 0 would say that it is not known
  write(slurm + "current", "300000\n");
  EXPECT_EQ(available_host_memory(root.path()).num_bytes, 1);
}

TEST_F(HostMemoryTest, OfVersion1IsThatOfTheMemoryController) {
  write("/proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/docker/ab\n2:cpuacct:/other\n0::/\n");
  const std::string mount = "/sys/fs/cgroup/memory/memory.";  // in a container, which does not see its host's names
  write(mount + "limit_in_bytes", "9223372036854771712\n");
  write(mount + "usage_in_bytes", "1000\n");
  expect(kTotal, kMachine, kLeft, kMachine);
  write(mount + "limit_in_bytes", "50000\n");
  expect(50000, mount + "limit_in_bytes", 49000, mount + "limit_in_bytes");
  write(mount + "stat", "inactive_file 7\ntotal_inactive_file 300\ntotal_active_file 200\n");
  expect(50000, mount + "limit_in_bytes", 49500, mount + "limit_in_bytes");
  const std::string group = "/sys/fs/cgroup/memory/docker/ab/memory.limit_in_bytes";
  write(group, "40000\n");
  expect(40000, group, 40000, group);
}

TEST_F(HostMemoryTest, OfAMachineThatSaysNothingIsNotKnown) {
  write(kMachine, "");
  expect(0, kMachine, 0, kMachine);
  write("/proc/self/cgroup", "nonsense\n0:\n0::no/path\n");
  expect(0, kMachine, 0, kMachine);
}

}  // namespace
}  // namespace engram
