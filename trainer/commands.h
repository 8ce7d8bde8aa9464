#pragma once

#include "parallel/communicator.h"
#include "trainer/cli.h"

namespace engram {

// What the verbs do that need no ranks. Each throws Error (ConfigError for configuration) and prints to std::cout.
void run_estimate(const EstimateCommand& command);
void run_data_build(const DataBuildCommand& command);
void run_data_inspect(const DataInspectCommand& command);
void run_data_verify(const DataVerifyCommand& command);
void run_data_ngrams(const DataNgramsCommand& command);
void run_data_tokenize(const DataTokenizeCommand& command);
void run_report(const ReportCommand& command);
void run_config_print(const ConfigPrintCommand& command);
void run_config_explain(const ConfigExplainCommand& command);

// Held-out loss of a checkpoint, and text from it. Collective; a checkpoint serves any number of ranks. Rank 0 prints.
void run_eval(Communicator& world, const EvalCommand& command);
void run_generate(Communicator& world, const GenerateCommand& command);

// What the memory of a configuration, or of a checkpoint, sees of a text. Collective; rank 0 prints.
void run_explain(Communicator& world, const ExplainCommand& command);

}  // namespace engram
