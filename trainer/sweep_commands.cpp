#include "trainer/sweep_commands.h"

#include <iostream>

#include "trainer/config.h"
#include "trainer/sweep_plan.h"

namespace engram {

void run_sweep_plan(const SweepPlanCommand& command) {
  const SweepFile file = load_sweep(command.config, command.sets);
  std::cout << plan_text(file, make_plan(file));
}

}  // namespace engram
