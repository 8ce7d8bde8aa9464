#include "trainer/bench_record.h"

#include <nlohmann/json.hpp>

#include "data/append_file.h"
#include "kernels/core/device_info.h"
#include "trainer/version.h"

namespace engram {

nlohmann::ordered_json bench_record(const char* kind, const Stream& stream, int num_devices,
                                    const std::string& command) {
  const DeviceInfo info = device_info(stream);
  nlohmann::ordered_json record{{"kind", kind}, {"program", "engram"}, {"device", info.name}, {"devices", num_devices}};
  const auto add = [&](const char* key, const std::string& value) {
    if (!value.empty()) record[key] = value;
  };
  add("driver", info.driver);
  add("cuda", info.cuda);
  add("cublas", info.cublas);
  add("cudnn", info.cudnn);
  add("nccl", info.nccl);
  record["version"] = version();
  record["commit"] = commit();
  record["command"] = command;
  return record;
}

void add_rates(nlohmann::ordered_json& record, const MachineRates& rates) {
  record["matmul"] = rates.matmul_text;
  record["matmul_flops_per_second"] = rates.matmul_flops;
  record["copy_bytes_per_second"] = rates.copy_bytes;
}

void open_records(Communicator& world, const std::string& path) {
  together(world, [&] {
    if (world.rank() == 0 && !path.empty()) AppendFile{path};
  });
}

void append_record(const std::string& path, const nlohmann::ordered_json& record) {
  if (path.empty()) return;
  AppendFile file(path);
  file.append(record.dump() + "\n");
  file.flush();
}

}  // namespace engram
