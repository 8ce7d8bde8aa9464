#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <string>

#include "trainer/cli.h"

// What the definitions of the verbs share.
namespace engram {

// How a verb is called and explained; the example ends its help.
struct Verb {
  std::string name;
  std::string what;
  std::string example;
};

// A verb that fills `fields`, and copies them to `chosen` where it is given.
template <class Fields>
CLI::App* add_verb(CLI::App& parent, Command& chosen, const Fields& fields, const Verb& about) {
  CLI::App* verb = parent.add_subcommand(about.name, about.what);
  verb->footer("Example:\n  " + about.example);
  verb->callback([&chosen, &fields] { chosen = fields; });
  return verb;
}

inline CLI::App* add_group(CLI::App& app, const Verb& about) {
  CLI::App* group = app.add_subcommand(about.name, about.what);
  group->require_subcommand(1);
  group->footer("Example:\n  " + about.example);
  return group;
}

// A configuration file, and --set.
template <class Fields>
void add_config(CLI::App* verb, Fields& fields) {
  verb->add_option("config", fields.config, "configuration file (YAML)")->required()->type_name("CONFIG");
  verb->add_option("--set", fields.sets, "override one key, lists as [1, 2]; may be repeated")
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
}

// Unlike CLI::Range, refuses nan.
inline CLI::Validator in_range(double low, double high) {
  const auto problem = [low, high](const std::string& text) {
    double value = 0;
    const bool is_number = CLI::detail::lexical_cast(text, value);
    if (is_number && value >= low && value <= high) return std::string();
    return fmt::format("\"{}\" is not a number in [{}, {}]", text, low, high);
  };
  return CLI::Validator(problem, "");
}

// Unlike CLI::PositiveNumber and CLI::NonNegativeNumber, says what it wants in few words, and refuses a number that
// does not fit 64 bits. For transform(): 010 becomes 10, or CLI11 would read eight.
inline CLI::Validator whole_number(int64_t low) {
  const auto problem = [low](std::string& text) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < low)
      return fmt::format("\"{}\" is not a whole number of at least {}", text, low);
    text = fmt::to_string(value);
    return std::string();
  };
  return CLI::Validator(problem, "");
}

// The verbs below `data`, and what they fill.
struct DataCommands {
  DataBuildCommand build;
  DataInspectCommand inspect;
  DataVerifyCommand verify;
  DataNgramsCommand ngrams;
  DataTokenizeCommand tokenize;
};
void add_data(CLI::App& app, DataCommands& data, Command& chosen);

// The verbs below `checkpoint`, and what they fill.
struct CheckpointCommands {
  CheckpointInspectCommand inspect;
  CheckpointVerifyCommand verify;
  CheckpointDiffCommand diff;
  CheckpointExportCommand exported;
  CheckpointImportCommand imported;
};
void add_checkpoint(CLI::App& app, CheckpointCommands& checkpoint, Command& chosen);

void add_doctor(CLI::App& app, DoctorCommand& fields, Command& chosen);

// The verbs below `bench`, and what they fill.
struct BenchCommands {
  BenchStepCommand step;
  BenchOpsCommand ops;
  BenchTableCommand table;
  BenchExchangeCommand exchange;
  BenchDumpCommand dump;
};
void add_bench(CLI::App& app, BenchCommands& bench, Command& chosen);

}  // namespace engram
