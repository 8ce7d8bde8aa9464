#include <malloc.h>

#include <cstdlib>
#include <iostream>
#include <new>
#include <optional>
#include <thread>

#include "parallel/heartbeat.h"
#include "parallel/mpi_communicator.h"
#include "parallel/peer_lost.h"
#include "parallel/self_communicator.h"
#include "trainer/bench_dump.h"
#include "trainer/bench_exchange.h"
#include "trainer/bench_ops.h"
#include "trainer/bench_step.h"
#include "trainer/bench_table.h"
#include "trainer/checkpoint_commands.h"
#include "trainer/commands.h"
#include "trainer/completion.h"
#include "trainer/config.h"
#include "trainer/doctor.h"
#include "trainer/exit_codes.h"
#include "trainer/requests.h"
#include "trainer/sweep_commands.h"
#include "trainer/train_loop.h"

namespace engram {
namespace {

constexpr auto kTimeForThePeer = std::chrono::seconds(3);

// Picks a function by the type of the command.
template <class... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};

bool has_safe_points(const Command& command) {
  return std::holds_alternative<TrainCommand>(command) || std::holds_alternative<EvalCommand>(command) ||
         std::holds_alternative<DataBuildCommand>(command) || std::holds_alternative<SweepRunCommand>(command);
}

// What needs no ranks.
constexpr auto run_alone = Overloaded{
    [](const BenchDumpCommand& c) { run_bench_dump(c); },
    [](const EstimateCommand& c) { run_estimate(c); },
    [](const DataBuildCommand& c) { run_data_build(c); },
    [](const DataInspectCommand& c) { run_data_inspect(c); },
    [](const DataVerifyCommand& c) { run_data_verify(c); },
    [](const DataNgramsCommand& c) { run_data_ngrams(c); },
    [](const DataTokenizeCommand& c) { run_data_tokenize(c); },
    [](const ReportCommand& c) { run_report(c); },
    [](const CheckpointInspectCommand& c) { run_checkpoint_inspect(c); },
    [](const CheckpointVerifyCommand& c) { run_checkpoint_verify(c); },
    [](const CheckpointDiffCommand& c) { run_checkpoint_diff(c); },
    [](const CheckpointExportCommand& c) { run_checkpoint_export(c); },
    [](const SweepPlanCommand& c) { run_sweep_plan(c); },
    [](const SweepAddCommand& c) { run_sweep_add(c); },
    [](const SweepStatusCommand& c) { run_sweep_status(c); },
    [](const SweepReportCommand& c) { run_sweep_report(c); },
    [](const ConfigPrintCommand& c) { run_config_print(c); },
    [](const ConfigExplainCommand& c) { run_config_explain(c); },
    [](const ConfigSchemaCommand&) { std::cout << config_schema() << std::flush; },
    [](const CompletionCommand& c) { std::cout << completion_script(c.shell) << std::flush; },
    [](const ShowText& c) { std::cout << c.text << std::flush; },
};

// Returns the exit code.
int run(Communicator& world, Pulse& pulse, const Command& command) {
  int code = kExitOk;
  std::visit(Overloaded{[&](const TrainCommand& c) { code = run_train(world, pulse, c); },
                        [&](const DoctorCommand& c) { code = run_doctor(world, c); },
                        [&](const SweepRunCommand& c) { code = world.rank() == 0 ? run_sweep(c) : kExitOk; },
                        [&](const EvalCommand& c) { run_eval(world, c); },
                        [&](const GenerateCommand& c) { run_generate(world, c); },
                        [&](const ExplainCommand& c) { run_explain(world, c); },
                        [&](const BenchStepCommand& c) { run_bench_step(world, c); },
                        [&](const BenchOpsCommand& c) { run_bench_ops(world, c); },
                        [&](const BenchTableCommand& c) { run_bench_table(world, c); },
                        [&](const BenchExchangeCommand& c) { run_bench_exchange(world, c.options); },
                        [&](const CheckpointImportCommand& c) { run_checkpoint_import(world, c); },
                        [&](const auto& c) {
                          if (world.rank() == 0) run_alone(c);
                        }},
             command);
  return code;
}

int exit_code_of(const std::exception& error) {
  if (dynamic_cast<const PeerFailed*>(&error) || dynamic_cast<const PeerLost*>(&error)) return kExitRequeue;
  if (dynamic_cast<const IoError*>(&error) || dynamic_cast<const std::system_error*>(&error)) return kExitIo;
  if (dynamic_cast<const Unavailable*>(&error) || dynamic_cast<const std::bad_alloc*>(&error)) return kExitUnavailable;
  return dynamic_cast<const Error*>(&error) ? kExitData : kExitInternal;
}

// What the user is told of it.
std::string text_of(const std::exception& error) {
  if (!dynamic_cast<const std::bad_alloc*>(&error)) return error.what();
  return "this host has no memory left for what was asked; `engram estimate` says what a rank takes";
}

// Without MPI each task of srun takes itself for the only rank, and all of them would do the same work.
void check_tasks_are_ranks(const Communicator& world) {
  const char* tasks = std::getenv("SLURM_STEP_NUM_TASKS");
  if (tasks == nullptr || world.size() > 1 || std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr) return;
  if (std::atoi(tasks) > 1) {
    throw ConfigError("srun started " + std::string(tasks) + " tasks that know nothing of each other; " +
                      "wanted the ranks of one job: srun --mpi=pmix (srun --mpi=list says what there is)");
  }
}

// The main thread waits inside MPI, so nobody else can do it; the launcher ends the other ranks.
[[noreturn]] void end_job(const std::string& problem) {
  std::cerr << problem << std::endl;
  std::_Exit(kExitRequeue);
}

struct Ending {
  int code = kExitOk;
  bool failed = false;  // on this rank, and nobody knows about the others
};

// The exit code of the command; who interrupts it is heard by all ranks.
int run_or_be_interrupted(Communicator& world, Pulse& pulse, const Command& command) {
  try {
    return run(world, pulse, command);
  } catch (const Interrupted& interrupted) {
    if (world.rank() == 0) std::cerr << interrupted.what() << " before it was done" << std::endl;
    return kExitRequeue;
  }
}

// Runs the command line on this rank; says what went wrong, with the rank where there are several. What a peer says
// better is said only where the peer has not ended the job by then.
Ending run_and_report(Communicator& world, Pulse& pulse, std::optional<Heartbeat>& heartbeat,
                      const std::vector<std::string>& arguments, RequestSignals& signals) {
  const std::string where = world.size() > 1 ? "rank " + std::to_string(world.rank()) + ": " : "";
  try {
    check_tasks_are_ranks(world);
    if (world.size() > 1) heartbeat.emplace(world, pulse, HeartbeatOptions{.end_job = end_job});
    const Command command = parse_command_line(arguments);
    if (!has_safe_points(command)) signals.give_back();
    const int code = run_or_be_interrupted(world, pulse, command);
    if (heartbeat) heartbeat->finish();
    return {.code = code};
  } catch (const ConfigError& error) {
    // Rank 0 reads the same configuration, and says it for all.
    if (world.rank() != 0) std::this_thread::sleep_for(kTimeForThePeer);
    std::cerr << (world.rank() == 0 ? "" : where) << error.what() << std::endl;
    return {kExitUsage, true};
  } catch (const std::exception& error) {
    const int code = exit_code_of(error);
    // The peer's message and exit code come first, and end this rank too.
    if (code == kExitRequeue) std::this_thread::sleep_for(kTimeForThePeer);
    std::cerr << where << (code == kExitInternal ? "internal error: " : "") << text_of(error) << std::endl;
    return {code, true};
  }
}

int main_of_rank(const std::vector<std::string>& arguments) {
  RequestSignals signals;  // before MPI starts, which takes its time
  Pulse pulse;
  if (!MpiSession::launched()) {
    SelfCommunicator world;
    std::optional<Heartbeat> none;
    return run_and_report(world, pulse, none, arguments, signals).code;
  }
  const MpiSession session;
  const auto world = session.world(pulse);
  std::optional<Heartbeat> heartbeat;
  const Ending ending = run_and_report(*world, pulse, heartbeat, arguments, signals);
  if (ending.failed) session.abort(ending.code);  // while the world is there: to free it is collective
  return ending.code;
}

}  // namespace
}  // namespace engram

int main(int argc, char** argv) {
  // Large blocks go back to the system when they are freed; by itself the library learns to keep up to 32 MiB of them.
  mallopt(M_MMAP_THRESHOLD, 4 << 20);
  return engram::main_of_rank({argv + 1, argv + argc});
}
