#include <unistd.h>

#include <iostream>

#include "parallel/mpi_communicator.h"
#include "parallel/self_communicator.h"
#include "trainer/bench_dump.h"
#include "trainer/bench_ops.h"
#include "trainer/bench_step.h"
#include "trainer/commands.h"
#include "trainer/config.h"
#include "trainer/exit_codes.h"
#include "trainer/sweep_commands.h"
#include "trainer/train_loop.h"

namespace engram {
namespace {

constexpr unsigned kSecondsForThePeer = 3;

// Picks a function by the type of the command.
template <class... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};

void run(Communicator& world, const Command& command) {
  const bool first = world.rank() == 0;
  std::visit(
      Overloaded{[&](const TrainCommand& c) { run_train(world, c); }, [&](const EvalCommand& c) { run_eval(world, c); },
                 [&](const GenerateCommand& c) { run_generate(world, c); },
                 [&](const BenchStepCommand& c) { run_bench_step(world, c); },
                 [&](const BenchOpsCommand& c) { run_bench_ops(world, c); },
                 [&](const BenchDumpCommand& c) {
                   if (first) run_bench_dump(c);
                 },
                 [&](const EstimateCommand& c) {
                   if (first) run_estimate(c);
                 },
                 [&](const DataBuildCommand& c) {
                   if (first) run_data_build(c);
                 },
                 [&](const SweepPlanCommand& c) {
                   if (first) run_sweep_plan(c);
                 },
                 [&](const SweepRunCommand& c) {
                   if (first) run_sweep(c);
                 },
                 [&](const SweepAddCommand& c) {
                   if (first) run_sweep_add(c);
                 },
                 [&](const SweepStatusCommand& c) {
                   if (first) run_sweep_status(c);
                 },
                 [&](const SweepReportCommand& c) {
                   if (first) run_sweep_report(c);
                 },
                 [&](const ConfigPrintCommand& c) {
                   if (first) run_config_print(c);
                 },
                 [&](const ConfigExplainCommand& c) {
                   if (first) run_config_explain(c);
                 },
                 [&](const ShowText& c) {
                   if (first) std::cout << c.text << std::flush;
                 }},
      command);
}

// Runs the command line on this rank; says what went wrong, with the rank where there are several. What a peer says
// better is said only where the peer has not ended the job by then.
int run_and_report(Communicator& world, const std::vector<std::string>& arguments) {
  const std::string where = world.size() > 1 ? "rank " + std::to_string(world.rank()) + ": " : "";
  try {
    run(world, parse_command_line(arguments));
    return kExitOk;
  } catch (const ConfigError& error) {
    if (world.rank() != 0) sleep(kSecondsForThePeer);  // rank 0 reads the same configuration, and says it for all
    std::cerr << (world.rank() == 0 ? "" : where) << error.what() << std::endl;
    return kExitUsage;
  } catch (const PeerFailed& error) {
    sleep(kSecondsForThePeer);  // its message and exit code come first, and end this rank too
    std::cerr << where << error.what() << std::endl;
    return kExitRequeue;
  } catch (const Error& error) {
    std::cerr << where << error.what() << std::endl;
    return kExitData;
  } catch (const std::exception& error) {
    std::cerr << where << "internal error: " << error.what() << std::endl;
    return kExitInternal;
  }
}

int main_of_rank(const std::vector<std::string>& arguments) {
  if (!MpiSession::launched()) {
    SelfCommunicator world;
    return run_and_report(world, arguments);
  }
  const MpiSession session;
  const auto world = session.world();
  const int code = run_and_report(*world, arguments);
  if (code != kExitOk) session.abort(code);  // while the world is there: to free it is collective
  return code;
}

}  // namespace
}  // namespace engram

int main(int argc, char** argv) { return engram::main_of_rank({argv + 1, argv + argc}); }
