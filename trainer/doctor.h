#pragma once

#include "trainer/doctor_facts.h"

namespace engram {

enum class Verdict { kOk, kFailed, kNotThere };

// What one check found; where it failed, the text ends with what to do.
struct Finding {
  std::string check;
  Verdict verdict = Verdict::kOk;
  std::string text;
};

// Each check of a job, in a fixed order; `job` as rank 0 has it.
std::vector<Finding> diagnose(const JobFacts& job);

// `engram doctor`: whether this machine and this job are fit for training. Rank 0 prints a line for each check; returns
// the exit code, kExitUnavailable where a check failed. Collective.
int run_doctor(Communicator& world, const DoctorCommand& command);

}  // namespace engram
