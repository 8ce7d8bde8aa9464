#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

// The command line, parsed into plain structs. What the commands do is elsewhere.
namespace engram {

struct TrainCommand {
  std::string config;
  std::vector<std::string> sets;  // "path=value", in order
  bool dry_run = false;
};

struct EvalCommand {
  std::string checkpoint;
  std::string data;               // token store; empty = the run's data.validation
  int64_t samples = 0;            // sequences, or items of each task; 0 = all
  std::string tokenizer;          // empty = the run's data.tokenizer
  std::string tasks;              // file of tasks; empty = held-out loss alone
  std::vector<std::string> only;  // names of tasks; empty = all
  std::string root = ".";         // what paths in the tasks are relative to
  std::string output;             // file of results; empty = none
  std::string items;              // file of every item's scores; empty = none
};

struct GenerateCommand {
  std::string checkpoint;
  std::string prompt;
  int64_t tokens = 100;
  double temperature = 0.8;  // 0 = the most likely token
  double top_p = 0.95;
  int64_t seed = 0;
  std::string tokenizer;  // empty = the run's data.tokenizer
};

struct ExplainCommand {
  std::string text;
  std::string config;  // of the two one is given
  std::string checkpoint;
  std::vector<std::string> sets;  // of the configuration
  std::string tokenizer;          // empty = the run's data.tokenizer
};

struct EstimateCommand {
  std::string config;
  std::vector<std::string> sets;
  std::vector<int64_t> ranks;  // 1 where left out; with a network see ScaleOptions
  std::string network;         // model the exchange over it
  int64_t local_batch = 0;     // see ScaleOptions
};

struct DoctorCommand {
  std::string config;  // empty = none
  std::vector<std::string> sets;
  std::string directory;  // where runs would be written; empty = the configuration's, or runs
};

struct DataBuildCommand {
  std::vector<std::string> inputs;  // .txt, .jsonl
  std::string tokenizer;
  std::string output;
  int64_t seed = 0;
  std::string text_field = "text";
  bool skip_bad = false;  // --on-error skip; otherwise the first bad record ends the build
  int64_t threads = 0;    // 0 = one per processor
  double holdout = 0;     // share of documents that goes to holdout_output
  std::string holdout_output;
};

struct DataTokenizeCommand {
  std::vector<std::string> inputs;  // .txt, .jsonl
  std::string tokenizer;
  std::string text_field = "text";
  bool added_tokens = false;  // find added tokens spelt out in the text
  int64_t threads = 0;        // 0 = as many as processors
};

struct DataInspectCommand {
  std::string store;
  int64_t show = 0;       // first documents whose text is printed
  std::string tokenizer;  // wanted for show
};

struct DataVerifyCommand {
  std::vector<std::string> stores;
};

struct DataNgramsCommand {
  std::string config;
  std::vector<std::string> sets;
  int64_t tokens = 1'000'000;  // of data.train, in the order of training
};

struct CheckpointInspectCommand {
  std::string checkpoint;
};

struct CheckpointVerifyCommand {
  std::string checkpoint;
};

struct CheckpointDiffCommand {
  std::string first;
  std::string second;
};

struct CheckpointExportCommand {
  std::string checkpoint;
  std::string output;
  std::string tokenizer;     // empty = the run's data.tokenizer
  bool bfloat16 = false;     // --dtype bfloat16; otherwise float32
  int64_t shard_mib = 4096;  // largest file
};

struct CheckpointImportCommand {
  std::string directory;  // an export
  std::string output;     // directory of a run
};

struct BenchStepCommand {
  std::string config;
  std::vector<std::string> sets;
  std::optional<int64_t> steps;   // measured; by device where left out
  std::optional<int64_t> warmup;  // before them
  bool profile = false;
  std::string json;  // file that gets a line of results; empty = none
  std::string line;  // the whole command line
};

struct BenchOpsCommand {
  std::string config;
  std::vector<std::string> sets;
  std::string filter;  // part of the names that are run
  std::string json;    // file that gets a line for each op; empty = none
  std::string line;    // the whole command line
};

// Tables, and who asks for which of their rows; with lists, every combination of their values.
struct BenchRowsOptions {
  std::string config;  // gives tables, width and addresses; empty = made up as follows
  std::vector<std::string> sets;
  std::string device;           // cpu or cuda; empty = the configuration's, or cuda where there is a card
  std::vector<int64_t> tokens;  // of a rank; by device where left out
  // Of made-up tables:
  std::optional<int64_t> rows;          // as many as fill 20 GiB on cuda, 16 MiB on cpu where left out
  std::vector<int64_t> widths;          // 128 where left out
  std::vector<int64_t> rows_per_token;  // 16
  std::vector<double> zipf;             // 1
  std::string values;                   // float32 or bfloat16, the rows' type on their way; empty = bfloat16 on cuda
  std::string json;                     // file that gets a line for each stage; empty = none
  std::string line;                     // the whole command line
};

struct BenchTableCommand {
  BenchRowsOptions options;
  std::string ids;  // file that gets requests for another program, see write_ids(); empty = none
};

struct BenchExchangeCommand {
  BenchRowsOptions options;
};

struct BenchDumpCommand {
  std::string config;
  std::vector<std::string> sets;
  std::string output;              // folder
  std::optional<int64_t> samples;  // all of the run where left out
};

struct ReportCommand {
  std::vector<std::string> runs;  // directories
  std::string output;             // empty = report.html in the first
};

struct SweepPlanCommand {
  std::string config;
  std::vector<std::string> sets;
};

struct SweepRunCommand {
  std::string config;
  std::vector<std::string> sets;
  int64_t jobs = 0;             // trials at once; 0 = what the devices hold
  std::vector<int64_t> trials;  // to work on; empty = all
  std::vector<int64_t> skip;    // marked as skipped before the others run
  bool retry = false;
  bool slurm = false;   // write the script of a job array instead
  bool submit = false;  // and hand it to sbatch
};

struct SweepAddCommand {
  std::string config;
  std::vector<std::string> sets;
};

struct SweepStatusCommand {
  std::string directory;
};

struct SweepReportCommand {
  std::vector<std::string> sources;  // directories of sweeps, and files that are a results.csv
  std::string output;                // empty = "report" in the first directory
};

struct ConfigPrintCommand {
  std::string config;
  std::vector<std::string> sets;
};

struct ConfigExplainCommand {
  std::string key;
};

struct ConfigSchemaCommand {};

struct CompletionCommand {
  std::string shell;
};

// Asked for by --help: print it and end with success.
struct ShowText {
  std::string text;
};

using Command =
    std::variant<TrainCommand, EvalCommand, GenerateCommand, ExplainCommand, EstimateCommand, DoctorCommand,
                 DataBuildCommand, DataTokenizeCommand, DataInspectCommand, DataVerifyCommand, DataNgramsCommand,
                 CheckpointInspectCommand, CheckpointVerifyCommand, CheckpointDiffCommand, CheckpointExportCommand,
                 CheckpointImportCommand, BenchStepCommand, BenchOpsCommand, BenchTableCommand, BenchExchangeCommand,
                 BenchDumpCommand, ReportCommand, SweepPlanCommand, SweepRunCommand, SweepAddCommand,
                 SweepStatusCommand, SweepReportCommand, ConfigPrintCommand, ConfigExplainCommand, ConfigSchemaCommand,
                 CompletionCommand, ShowText>;

// `arguments` without the program's name. Throws ConfigError (kExitUsage) for anything it does not know, with the
// nearest verb or option.
Command parse_command_line(const std::vector<std::string>& arguments);

}  // namespace engram
