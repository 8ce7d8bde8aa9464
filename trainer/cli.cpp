#include "trainer/cli.h"

#include <fmt/format.h>

#include <algorithm>

#include "trainer/cli_app.h"
#include "trainer/cli_verb.h"
#include "trainer/config.h"
#include "trainer/key_suggestion.h"
#include "trainer/version.h"

namespace engram {
namespace {

// One of everything; the verb that was given fills its own and names it in `command`.
struct Parsed {
  TrainCommand train;
  EvalCommand eval;
  GenerateCommand generate;
  ExplainCommand explain;
  EstimateCommand estimate;
  DoctorCommand doctor;
  DataCommands data;
  CheckpointCommands checkpoint;
  BenchCommands bench;
  ReportCommand report;
  SweepPlanCommand sweep_plan;
  SweepRunCommand sweep_run;
  SweepAddCommand sweep_add;
  SweepStatusCommand sweep_status;
  SweepReportCommand sweep_report;
  ConfigPrintCommand config_print;
  ConfigExplainCommand config_explain;
  ConfigSchemaCommand config_schema;
  CompletionCommand completion;
  Command command;
};

template <class Fields>
CLI::App* add_verb(CLI::App& parent, Parsed& parsed, const Fields& fields, const Verb& about) {
  return add_verb(parent, parsed.command, fields, about);
}

void add_train(CLI::App& app, Parsed& parsed) {
  CLI::App* verb = add_verb(app, parsed, parsed.train,
                            {"train", "Train a model; resumes from the newest checkpoint of the run.",
                             "mpirun -np 4 engram train configs/quickstart.yaml --set train.steps=200"});
  add_config(verb, parsed.train);
  verb->add_flag("--dry-run", parsed.train.dry_run, "what a start would do: check all that it checks, without a step");
}

void add_eval(CLI::App& app, Parsed& parsed) {
  EvalCommand& fields = parsed.eval;
  CLI::App* verb = add_verb(app, parsed, fields,
                            {"eval", "Loss of a checkpoint on held-out text, or its results on a file of tasks.",
                             "engram eval runs/quickstart --tasks configs/evaluation.yaml --root MY_DATA"});
  verb->add_option("checkpoint", fields.checkpoint, "checkpoint, or directory of a run (its newest)")
      ->required()
      ->type_name("CHECKPOINT");
  CLI::Option* data =
      verb->add_option("--data", fields.data, "token store; default: the run's validation store")->type_name("STORE");
  verb->add_option("--samples", fields.samples, "sequences, or items of each task; 0 = all")
      ->transform(whole_number(0))
      ->type_name("N");
  verb->add_option("--tokenizer", fields.tokenizer, "tokenizer.json; default: the run's")->type_name("FILE");
  CLI::Option* tasks = verb->add_option("--tasks", fields.tasks, "what to evaluate, see docs/evaluation.md")
                           ->excludes(data)
                           ->type_name("FILE");
  verb->add_option("--only", fields.only, "this task alone; may be repeated")
      ->needs(tasks)
      ->allow_extra_args(false)
      ->type_name("NAME");
  verb->add_option("--root", fields.root, "what paths in the tasks are relative to; default: here")
      ->needs(tasks)
      ->type_name("DIR");
  verb->add_option("--output", fields.output, "file that gets the results (JSON)")->needs(tasks)->type_name("FILE");
  verb->add_option("--items", fields.items, "file that gets every item's scores (JSON lines)")
      ->needs(tasks)
      ->type_name("FILE");
}

void add_generate(CLI::App& app, Parsed& parsed) {
  GenerateCommand& fields = parsed.generate;
  CLI::App* verb = add_verb(app, parsed, fields,
                            {"generate", "Continue a text with a trained model.",
                             "engram generate runs/quickstart --prompt \"Once upon a time\" --tokens 200"});
  verb->add_option("checkpoint", fields.checkpoint, "checkpoint, or directory of a run (its newest)")
      ->required()
      ->type_name("CHECKPOINT");
  verb->add_option("--prompt", fields.prompt, "text to continue")->type_name("TEXT");
  verb->add_option("--tokens", fields.tokens, "tokens to generate, 100 unless told")
      ->transform(whole_number(0))
      ->type_name("N");
  verb->add_option("--temperature", fields.temperature, "0 = always the likeliest; 0.8 unless told")
      ->check(in_range(0.0, 100.0))
      ->type_name("X");
  verb->add_option("--top-p", fields.top_p, "share of probability that is sampled from; 0.95 unless told")
      ->check(in_range(1e-6, 1.0))
      ->type_name("X");
  verb->add_option("--seed", fields.seed, "seed of the sampling")->transform(whole_number(0))->type_name("N");
  verb->add_option("--tokenizer", fields.tokenizer, "tokenizer.json; default: the run's")->type_name("FILE");
}

void add_explain(CLI::App& app, Parsed& parsed) {
  ExplainCommand& fields = parsed.explain;
  CLI::App* verb = add_verb(app, parsed, fields,
                            {"explain", "What memory sees of a text: tokens, n-grams, table rows, gates.",
                             "engram explain \"The history of Rome\" --checkpoint runs/quickstart"});
  verb->add_option("text", fields.text, "text to explain")->required()->type_name("TEXT");
  CLI::Option* config =
      verb->add_option("--config", fields.config, "configuration file (YAML); it or --checkpoint")->type_name("CONFIG");
  CLI::Option* checkpoint = verb->add_option("--checkpoint", fields.checkpoint,
                                             "checkpoint, or directory of a run (its newest); adds the gates")
                                ->excludes(config)
                                ->type_name("CHECKPOINT");
  verb->parse_complete_callback([config, checkpoint] {
    if (config->empty() && checkpoint->empty()) throw CLI::RequiredError("--config or --checkpoint");
  });
  verb->add_option("--set", fields.sets, "override one key of the configuration; may be repeated")
      ->allow_extra_args(false)
      ->needs(config)
      ->type_name("KEY=VALUE");
  verb->add_option("--tokenizer", fields.tokenizer, "tokenizer.json; default: the run's")->type_name("FILE");
}

void add_estimate(CLI::App& app, Parsed& parsed) {
  CLI::App* verb =
      add_verb(app, parsed, parsed.estimate,
               {"estimate", "Parameters, FLOPs per token, memory, checkpoint bytes; exchange on many GPUs.",
                "engram estimate configs/bench/engram_27b.yaml --ranks 8,64,256 --network ib400"});
  add_config(verb, parsed.estimate);
  verb->add_option("--ranks", parsed.estimate.ranks, "numbers of ranks; 1 unless told, 8, 16, .. 4096 with --network")
      ->delimiter(',')
      ->transform(whole_number(1))
      ->type_name("N,...");
  CLI::Option* network =
      verb->add_option("--network", parsed.estimate.network, "model the row exchange over ib400, ib200 or a YAML file")
          ->type_name("NAME");
  verb->add_option("--local-batch", parsed.estimate.local_batch,
                   "sequences of a rank's step, unless told train.global_batch over the ranks")
      ->transform(whole_number(1))
      ->needs(network)
      ->type_name("N");
}

void add_sweep_run(CLI::App& group, Parsed& parsed) {
  SweepRunCommand& fields = parsed.sweep_run;
  CLI::App* verb = add_verb(group, parsed, fields,
                            {"run", "Run the trials that are not done; go on where an earlier call was cut off.",
                             "engram sweep run configs/sweeps/laptop.yaml --jobs 2"});
  add_config(verb, fields);
  verb->add_option("--jobs", fields.jobs, "trials at once; default: GPUs, or cores on cpu, over ranks")
      ->transform(whole_number(1))
      ->type_name("N");
  verb->add_option("--trial", fields.trials, "this trial alone; may be repeated")
      ->transform(whole_number(0))
      ->allow_extra_args(false)
      ->type_name("N");
  verb->add_option("--skip", fields.skip, "do not run this trial; may be repeated")
      ->transform(whole_number(0))
      ->allow_extra_args(false)
      ->type_name("N");
  verb->add_flag("--retry", fields.retry, "run failed and skipped trials once more");
  CLI::Option* slurm = verb->add_flag("--slurm", fields.slurm, "write the script of a Slurm job array instead");
  verb->add_flag("--submit", fields.submit, "and hand it to sbatch")->needs(slurm);
}

void add_sweep(CLI::App& app, Parsed& parsed) {
  const std::string example = "engram sweep plan configs/sweeps/laptop.yaml";
  CLI::App* group =
      add_group(app, {"sweep", "Many runs that share a budget: plan, run, add, status, report.", example});
  CLI::App* plan = add_verb(*group, parsed, parsed.sweep_plan,
                            {"plan", "What the trials of a sweep would be, with every count.", example});
  add_config(plan, parsed.sweep_plan);
  add_sweep_run(*group, parsed);
  CLI::App* add = add_verb(*group, parsed, parsed.sweep_add,
                           {"add", "Append the trials that a changed sweep file has more.",
                            "engram sweep add configs/sweeps/laptop.yaml --set sweep.seeds=[0,1,2]"});
  add_config(add, parsed.sweep_add);
  CLI::App* status =
      add_verb(*group, parsed, parsed.sweep_status,
               {"status", "States of the trials, and the time left.", "engram sweep status runs/laptop"});
  CLI::App* report = add_verb(*group, parsed, parsed.sweep_report,
                              {"report", "Fits, intervals, tables and figures of one or more sweeps.",
                               "engram sweep report runs/sweep_first docs/results/allocation-law/results.csv"});
  report
      ->add_option("sources", parsed.sweep_report.sources, "directories of sweeps; a results.csv of an earlier report")
      ->required()
      ->type_name("DIR|CSV");
  report->add_option("--output", parsed.sweep_report.output, "where to write; default: report/ in the first directory")
      ->type_name("DIR");
  status->add_option("directory", parsed.sweep_status.directory, "directory of the sweep")
      ->required()
      ->type_name("DIR");
}

void add_report(CLI::App& app, Parsed& parsed) {
  CLI::App* verb = add_verb(app, parsed, parsed.report,
                            {"report", "One page about a run, or about several beside each other.",
                             "engram report runs/quickstart runs/quickstart_backbone --output comparison.html"});
  verb->add_option("runs", parsed.report.runs, "directories of runs")->required()->type_name("RUN");
  verb->add_option("--output", parsed.report.output, "HTML file to write; default: report.html in the first run")
      ->type_name("FILE");
}

void add_config_verbs(CLI::App& app, Parsed& parsed) {
  const std::string example = "engram config explain model.engram";
  CLI::App* group = add_group(app, {"config", "Configuration: print, explain, schema.", example});
  CLI::App* print = add_verb(
      *group, parsed, parsed.config_print,
      {"print", "The effective configuration, defaults included.", "engram config print configs/quickstart.yaml"});
  add_config(print, parsed.config_print);
  CLI::App* explain = add_verb(*group, parsed, parsed.config_explain,
                               {"explain", "Type, range, default and meaning of a key and those below it.", example});
  explain->add_option("key", parsed.config_explain.key, "dotted path; all keys where left out")->type_name("KEY");
  add_verb(*group, parsed, parsed.config_schema,
           {"schema", "JSON schema of configuration files, for editors.", "engram config schema > engram.schema.json"});
}

void add_completion(CLI::App& app, Parsed& parsed) {
  CLI::App* verb = add_verb(
      app, parsed, parsed.completion,
      {"completion", "Script that makes a shell complete this command line.", "engram completion bash > engram.bash"});
  verb->add_option("shell", parsed.completion.shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}))
      ->type_name("SHELL");
}

// Names of the options and verbs the app knows.
std::vector<std::string> known_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(verb->get_name());
  }
  return names;
}

// The verb that `arguments` start with, as deep as they go; `depth` gets the number of arguments that name it.
const CLI::App* verb_of(const CLI::App* app, const std::vector<std::string>& arguments, size_t& depth) {
  for (depth = 0; depth < arguments.size(); ++depth) {
    const auto verbs = app->get_subcommands([&](const CLI::App* verb) { return verb->get_name() == arguments[depth]; });
    if (verbs.empty()) break;
    app = verbs[0];
  }
  return app;
}

[[noreturn]] void refuse(const CLI::App& app, const std::vector<std::string>& arguments, const CLI::ParseError& error) {
  size_t depth = 0;
  const CLI::App* verb = verb_of(&app, arguments, depth);
  std::string name = "engram";
  for (size_t i = 0; i < depth; ++i) name += " " + arguments[i];

  std::string what = error.what();
  const bool wants_verb = verb->get_require_subcommand_min() > 0;
  for (size_t i = depth; i < arguments.size(); ++i) {
    const std::string word = arguments[i].substr(0, arguments[i].find('='));
    const std::vector<std::string> known = known_names(*verb);
    const bool is_verb = wants_verb && i == depth && !word.starts_with('-');
    const bool is_option = word.starts_with("--") && word.size() > 2;
    if ((!is_verb && !is_option) || std::find(known.begin(), known.end(), word) != known.end()) continue;
    what = fmt::format("\"{}\": unknown {}{}", word, is_verb ? "command" : "option",
                       suggestion_text(nearest_names(word, known)));
    break;
  }
  throw ConfigError(fmt::format("{}: {}; see `{} --help`", name, what, name));
}

void define(CLI::App& app, Parsed& parsed) {
  app.name("engram")->require_subcommand(1);
  app.set_version_flag("--version", fmt::format("engram {}, commit {}", version(), commit()), "version and commit");
  app.footer("Example:\n  mpirun -np 4 engram train configs/quickstart.yaml");
  add_train(app, parsed);
  add_eval(app, parsed);
  add_generate(app, parsed);
  add_explain(app, parsed);
  add_data(app, parsed.data, parsed.command);
  add_checkpoint(app, parsed.checkpoint, parsed.command);
  add_estimate(app, parsed);
  add_doctor(app, parsed.doctor, parsed.command);
  add_bench(app, parsed.bench, parsed.command);
  add_report(app, parsed);
  add_sweep(app, parsed);
  add_config_verbs(app, parsed);
  add_completion(app, parsed);
}

}  // namespace

void with_command_line(const std::function<void(const CLI::App&)>& use) {
  Parsed parsed;
  CLI::App app;
  define(app, parsed);
  use(app);
}

Command parse_command_line(const std::vector<std::string>& arguments) {
  Parsed parsed;
  CLI::App app("Trains language models with experts and hashed n-gram memory.");
  define(app, parsed);
  std::string line = "engram";
  for (const std::string& argument : arguments) line += " " + argument;
  parsed.bench.step.line = parsed.bench.ops.line = line;
  parsed.bench.table.options.line = parsed.bench.exchange.options.line = line;
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // CLI11 wants the last one first
  try {
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    return ShowText{app.help()};
  } catch (const CLI::CallForVersion& version_text) {
    return ShowText{version_text.what() + std::string("\n")};
  } catch (const CLI::ParseError& error) {
    refuse(app, arguments, error);
  }
  return parsed.command;
}

}  // namespace engram
