#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "kernels/core/stream.h"
#include "parallel/communicator.h"
#include "trainer/bench_timing.h"

namespace engram {

// The start of a measurement's line in a results file: what was measured, where, with what and how it was asked for.
nlohmann::ordered_json bench_record(const char* kind, const Stream& stream, int num_devices,
                                    const std::string& command);
void add_rates(nlohmann::ordered_json& record, const MachineRates& rates);

// Makes the file that rank 0 adds records to, where it is missing. Collective; before the work, so that what it
// measured is not lost: throws IoError on all ranks where the file cannot be written. Does nothing where path is "".
void open_records(Communicator& world, const std::string& path);

// Adds the record to a file of one line each. Throws IoError where that fails; does nothing where path is "".
void append_record(const std::string& path, const nlohmann::ordered_json& record);

}  // namespace engram
