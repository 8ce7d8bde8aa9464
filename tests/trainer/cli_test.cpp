#include "trainer/cli.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "tests/trainer/config_testing.h"
#include "trainer/cli_app.h"

namespace engram {
namespace {

template <class T>
T parse(const std::vector<std::string>& arguments) {
  const Command command = parse_command_line(arguments);
  EXPECT_TRUE(std::holds_alternative<T>(command));
  return std::holds_alternative<T>(command) ? std::get<T>(command) : T{};
}

std::string refused(const std::vector<std::string>& arguments) {
  return test::refusal([&] { parse_command_line(arguments); });
}

TEST(CommandLine, Train) {
  const auto plain = parse<TrainCommand>({"train", "a.yaml"});
  EXPECT_EQ(plain.config, "a.yaml");
  EXPECT_TRUE(plain.sets.empty());
  EXPECT_FALSE(plain.dry_run);
  const auto full =
      parse<TrainCommand>({"train", "--set", "model.engram.layers=[1, 2]", "--dry-run", "--set=run.name=x", "a.yaml"});
  EXPECT_EQ(full.config, "a.yaml");
  EXPECT_EQ(full.sets, (std::vector<std::string>{"model.engram.layers=[1, 2]", "run.name=x"}));
  EXPECT_TRUE(full.dry_run);
}

TEST(CommandLine, Sweep) {
  EXPECT_EQ(parse<SweepPlanCommand>({"sweep", "plan", "s.yaml", "--set", "a=b"}).sets, std::vector<std::string>{"a=b"});
  const auto run = parse<SweepRunCommand>(
      {"sweep", "run", "s.yaml", "--jobs", "3", "--trial", "1", "--trial", "2", "--skip", "4", "--retry"});
  EXPECT_EQ(run.config, "s.yaml");
  EXPECT_EQ(run.jobs, 3);
  EXPECT_EQ(run.trials, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(run.skip, std::vector<int64_t>{4});
  EXPECT_TRUE(run.retry);
  EXPECT_FALSE(run.slurm);
  EXPECT_EQ(parse<SweepAddCommand>({"sweep", "add", "s.yaml"}).config, "s.yaml");
  EXPECT_EQ(parse<SweepStatusCommand>({"sweep", "status", "runs/s"}).directory, "runs/s");
  EXPECT_NE(refused({"sweep", "run", "s.yaml", "--submit"}).find("--slurm"), std::string::npos);
  EXPECT_NE(refused({"sweep", "rum", "s.yaml"}).find("did you mean \"run\""), std::string::npos);
}

TEST(CommandLine, Report) {
  const auto command = parse<ReportCommand>({"report", "runs/a", "runs/b", "--output", "c.html"});
  EXPECT_EQ(command.runs, (std::vector<std::string>{"runs/a", "runs/b"}));
  EXPECT_EQ(command.output, "c.html");
}

TEST(CommandLine, Eval) {
  const auto command =
      parse<EvalCommand>({"eval", "runs/a", "--data", "v.h5", "--samples", "12", "--tokenizer", "t.json"});
  EXPECT_EQ(command.checkpoint, "runs/a");
  EXPECT_EQ(command.data, "v.h5");
  EXPECT_EQ(command.samples, 12);
  EXPECT_EQ(command.tokenizer, "t.json");
}

TEST(CommandLine, Generate) {
  const auto command = parse<GenerateCommand>({"generate", "runs/a", "--prompt", "[a, b] = c", "--tokens", "7",
                                               "--temperature", "0", "--top-p", "0.5", "--seed", "9"});
  EXPECT_EQ(command.checkpoint, "runs/a");
  EXPECT_EQ(command.prompt, "[a, b] = c");
  EXPECT_EQ(command.tokens, 7);
  EXPECT_EQ(command.temperature, 0);
  EXPECT_EQ(command.top_p, 0.5);
  EXPECT_EQ(command.seed, 9);
  EXPECT_EQ(parse<GenerateCommand>({"generate", "runs/a", "--prompt", "[x]"}).prompt, "[x]");
  EXPECT_EQ(parse<GenerateCommand>({"generate", "runs/a", "--prompt", ""}).prompt, "");
  EXPECT_EQ(parse<GenerateCommand>({"generate", "runs/a", "--prompt=--tokens"}).prompt, "--tokens");
}

TEST(CommandLine, Explain) {
  const auto command =
      parse<ExplainCommand>({"explain", "[a, b]", "--config", "a.yaml", "--set", "x=1", "--tokenizer", "t"});
  EXPECT_EQ(command.text, "[a, b]");
  EXPECT_EQ(command.config, "a.yaml");
  EXPECT_EQ(command.sets, std::vector<std::string>{"x=1"});
  EXPECT_EQ(command.tokenizer, "t");
  EXPECT_EQ(parse<ExplainCommand>({"explain", "a", "--checkpoint", "runs/a"}).checkpoint, "runs/a");
  EXPECT_EQ(refused({"explain", "a"}),
            "engram explain: --config or --checkpoint is required; see `engram explain --help`");
  EXPECT_EQ(refused({"explain", "a", "--config", "c", "--checkpoint", "d"}),
            "engram explain: --config excludes --checkpoint; see `engram explain --help`");
  EXPECT_NE(refused({"explain", "a", "--chekpoint", "d"}).find("did you mean \"--checkpoint\"?"), std::string::npos);
  EXPECT_THROW(parse_command_line({"explain", "a", "--checkpoint", "d", "--set", "x=1"}), ConfigError);
}

TEST(CommandLine, DataBuild) {
  const auto command = parse<DataBuildCommand>({"data",
                                                "build",
                                                "a.txt",
                                                "b/",
                                                "--tokenizer",
                                                "t.json",
                                                "--output",
                                                "o.h5",
                                                "--shuffle",
                                                "4",
                                                "--threads",
                                                "3",
                                                "--text-field",
                                                "body",
                                                "--on-error",
                                                "skip",
                                                "--holdout",
                                                "0.01",
                                                "--holdout-output",
                                                "v.h5"});
  EXPECT_EQ(command.inputs, (std::vector<std::string>{"a.txt", "b/"}));
  EXPECT_EQ(command.tokenizer, "t.json");
  EXPECT_EQ(command.output, "o.h5");
  EXPECT_EQ(command.seed, 4);
  EXPECT_EQ(command.threads, 3);
  EXPECT_EQ(command.text_field, "body");
  EXPECT_TRUE(command.skip_bad);
  EXPECT_EQ(command.holdout, 0.01);
  EXPECT_EQ(command.holdout_output, "v.h5");
  EXPECT_FALSE(parse<DataBuildCommand>({"data", "build", "a.txt", "--tokenizer", "t", "--output", "o"}).skip_bad);
}

TEST(CommandLine, DataInspectAndVerify) {
  const auto inspect = parse<DataInspectCommand>({"data", "inspect", "a.h5", "--show", "3", "--tokenizer", "t.json"});
  EXPECT_EQ(inspect.store, "a.h5");
  EXPECT_EQ(inspect.show, 3);
  EXPECT_EQ(inspect.tokenizer, "t.json");
  EXPECT_EQ(parse<DataVerifyCommand>({"data", "verify", "a.h5", "b.h5"}).stores,
            (std::vector<std::string>{"a.h5", "b.h5"}));
  EXPECT_NE(refused({"data", "inspect", "a.h5", "--show", "3"}).find("--tokenizer"), std::string::npos);
  EXPECT_NE(refused({"data", "verify"}), "");
}

TEST(CommandLine, DataNgrams) {
  const auto command = parse<DataNgramsCommand>({"data", "ngrams", "c.yaml", "--tokens", "5000", "--set", "a=1"});
  EXPECT_EQ(command.config, "c.yaml");
  EXPECT_EQ(command.tokens, 5000);
  EXPECT_EQ(command.sets, (std::vector<std::string>{"a=1"}));
  EXPECT_NE(refused({"data", "ngrams", "c.yaml", "--tokens", "0"}), "");
}

TEST(CommandLine, DataTokenize) {
  const auto command = parse<DataTokenizeCommand>(
      {"data", "tokenize", "a.txt", "--tokenizer", "t", "--text-field", "body", "--added-tokens", "--threads", "2"});
  EXPECT_EQ(command.inputs, std::vector<std::string>{"a.txt"});
  EXPECT_EQ(command.tokenizer, "t");
  EXPECT_EQ(command.text_field, "body");
  EXPECT_TRUE(command.added_tokens);
  EXPECT_EQ(command.threads, 2);
}

TEST(CommandLine, TheOthers) {
  const auto doctor = parse<DoctorCommand>({"doctor", "a.yaml", "--set", "a=b", "--dir", "d"});
  EXPECT_EQ(doctor.config + doctor.sets.at(0) + doctor.directory, "a.yamla=bd");
  EXPECT_TRUE(parse<DoctorCommand>({"doctor"}).config.empty());
  EXPECT_NE(refused({"doctor", "--set", "a=b"}), "");
  const auto estimate = parse<EstimateCommand>({"estimate", "a.yaml", "--ranks", "4", "--set", "train.steps=3"});
  EXPECT_EQ(estimate.config, "a.yaml");
  EXPECT_EQ(estimate.ranks, std::vector<int64_t>{4});
  EXPECT_EQ(estimate.sets, std::vector<std::string>{"train.steps=3"});
  const auto bench = parse<BenchStepCommand>(
      {"bench", "step", "a.yaml", "--steps", "20", "--warmup", "0", "--profile", "--json", "r.jsonl"});
  EXPECT_EQ(bench.config, "a.yaml");
  EXPECT_EQ(bench.steps, 20);
  EXPECT_EQ(bench.warmup, 0);
  EXPECT_TRUE(bench.profile);
  EXPECT_EQ(bench.json, "r.jsonl");
  EXPECT_EQ(bench.line, "engram bench step a.yaml --steps 20 --warmup 0 --profile --json r.jsonl");
  EXPECT_FALSE(parse<BenchStepCommand>({"bench", "step", "a.yaml"}).steps.has_value());
  EXPECT_EQ(parse<BenchOpsCommand>({"bench", "ops", "a.yaml", "--filter", "rms"}).filter, "rms");
  const auto table = parse<BenchTableCommand>({"bench", "table", "--widths", "64,80", "--zipf", "0,1.2"});
  EXPECT_EQ(table.options.widths, (std::vector<int64_t>{64, 80}));
  EXPECT_EQ(table.options.zipf, (std::vector<double>{0, 1.2}));
  EXPECT_EQ(table.options.line, "engram bench table --widths 64,80 --zipf 0,1.2");
  const auto exchange =
      parse<BenchExchangeCommand>({"bench", "exchange", "a.yaml", "--tokens", "64", "--values", "float32"});
  EXPECT_EQ(exchange.options.config, "a.yaml");
  EXPECT_EQ(exchange.options.tokens, std::vector<int64_t>{64});
  EXPECT_EQ(exchange.options.values, "float32");
  const auto dump = parse<BenchDumpCommand>({"bench", "dump", "a.yaml", "--output", "d", "--samples", "8"});
  EXPECT_EQ(dump.output, "d");
  EXPECT_EQ(dump.samples, 8);
  EXPECT_EQ(parse<ConfigPrintCommand>({"config", "print", "a.yaml"}).config, "a.yaml");
  EXPECT_EQ(parse<ConfigExplainCommand>({"config", "explain", "model.hidden"}).key, "model.hidden");
  EXPECT_EQ(parse<ConfigExplainCommand>({"config", "explain"}).key, "");
  parse<ConfigSchemaCommand>({"config", "schema"});
  EXPECT_EQ(parse<CompletionCommand>({"completion", "zsh"}).shell, "zsh");
  EXPECT_NE(refused({"completion", "sh"}).find("sh"), std::string::npos);
}

void add_verbs(const CLI::App& app, const std::vector<std::string>& path, std::vector<std::vector<std::string>>& all) {
  all.push_back(path);
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    std::vector<std::string> longer = path;
    longer.push_back(verb->get_name());
    add_verbs(*verb, longer, all);
  }
}

// Every verb there is, as deep as they go; {} is the program itself.
std::vector<std::vector<std::string>> all_verbs() {
  std::vector<std::vector<std::string>> all;
  with_command_line([&](const CLI::App& app) { add_verbs(app, {}, all); });
  return all;
}

// Words of a command line as a shell would split it.
std::vector<std::string> words(const std::string& line) {
  std::vector<std::string> all;
  std::string word;
  bool in_quotes = false;
  for (const char c : line + " ") {
    if (c == '"')
      in_quotes = !in_quotes;
    else if (c != ' ' || in_quotes)
      word += c;
    else if (!word.empty())
      all.push_back(std::exchange(word, {}));
  }
  return all;
}

TEST(CommandLine, HelpFitsOneScreenAndEndsWithAnExampleThatParses) {
  for (std::vector<std::string> arguments : all_verbs()) {
    arguments.push_back("--help");
    std::string text = parse<ShowText>(arguments).text;
    while (text.ends_with('\n')) text.pop_back();
    EXPECT_LE(std::count(text.begin(), text.end(), '\n') + 1, 24) << text;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 110u) << line;
    const size_t at = text.rfind("Example:\n");
    ASSERT_NE(at, std::string::npos) << text;
    std::vector<std::string> example = words(text.substr(at + 9));
    example.erase(example.begin(), std::find(example.begin(), example.end(), "engram") + 1);
    example.erase(std::find(example.begin(), example.end(), ">"), example.end());
    ASSERT_FALSE(example.empty()) << text;
    EXPECT_NO_THROW(parse_command_line(example)) << text;
  }
}

TEST(CommandLine, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(refused({"trian", "a.yaml"}),
            "engram: \"trian\": unknown command; did you mean \"train\"?; see `engram --help`");
  EXPECT_NE(refused({"frobnicate"}).find("\"frobnicate\": unknown command; see `engram --help`"), std::string::npos);
  EXPECT_NE(refused({"data", "biuld"}).find("engram data: \"biuld\": unknown command; did you mean \"build\"?"),
            std::string::npos);
  EXPECT_NE(refused({"train", "a.yaml", "--dryrun"}).find("\"--dryrun\": unknown option; did you mean \"--dry-run\"?"),
            std::string::npos);
  EXPECT_NE(refused({"generate", "r", "--token=5"}).find("did you mean \"--tokens\"?"), std::string::npos);
  EXPECT_NE(refused({"train", "a.yaml", "b.yaml"}).find("b.yaml"), std::string::npos);
  EXPECT_NE(refused({"train", "a.yaml", "-x"}), "");
  EXPECT_NE(refused({"--frob", "train", "a.yaml"}), "");
}

TEST(CommandLine, RefusesWhatIsMissingOrOutOfRange) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {},
           {"train"},
           {"data"},
           {"data", "build"},
           {"data", "build", "a.txt", "--output", "o.h5"},
           {"data", "build", "a.txt", "--tokenizer", "t", "--output", "o", "--holdout", "0.1"},
           {"data", "build", "a.txt", "--tokenizer", "t", "--output", "o", "--on-error", "ignore"},
           {"bench", "step", "a.yaml", "--steps", "0"},
           {"bench", "table", "--zipf", "-1"},
           {"bench", "exchange", "--tokens", "0"},
           {"estimate", "a.yaml", "--ranks", "0"},
           {"estimate", "a.yaml", "--ranks", "two"},
           {"estimate", "a.yaml", "--local-batch", "4"},
           {"eval", "r", "--samples", "-1"},
           {"generate", "r", "--top-p", "1.5"},
           {"generate", "r", "--top-p", "0"},
           {"generate", "r", "--temperature", "-1"},
           {"generate", "r", "--temperature", "nan"},
           {"generate", "r", "--tokens", "many"},
           {"train", "a.yaml", "--set"}}) {
    std::string line;
    for (const std::string& word : arguments) line += word + " ";
    const std::string message = refused(arguments);
    EXPECT_NE(message.find("--help`"), std::string::npos) << line << "-> " << message;
  }
}

TEST(CommandLine, ReadsNumbersThatBeginWithZeroAsDecimal) {
  EXPECT_EQ(parse<EvalCommand>({"eval", "r", "--samples", "010"}).samples, 10);
  EXPECT_EQ(parse<EvalCommand>({"eval", "r", "--samples=09"}).samples, 9);
  EXPECT_EQ(parse<EstimateCommand>({"estimate", "a.yaml", "--ranks", "08,0016"}).ranks, (std::vector<int64_t>{8, 16}));
}

TEST(CommandLine, SaysWhichNumbersItWanted) {
  EXPECT_EQ(refused({"eval", "r", "--samples", "-1"}),
            "engram eval: --samples: \"-1\" is not a whole number of at least 0; see `engram eval --help`");
  EXPECT_EQ(refused({"data", "ngrams", "a.yaml", "--tokens", "0"}),
            "engram data ngrams: --tokens: \"0\" is not a whole number of at least 1; see `engram data ngrams --help`");
  for (const std::string word : {"two", "1.5", "99999999999999999999"}) {
    EXPECT_NE(refused({"estimate", "a.yaml", "--ranks=8," + word}).find('"' + word + "\" is not a whole number"),
              std::string::npos)
        << refused({"estimate", "a.yaml", "--ranks=8," + word});
  }
}

}  // namespace
}  // namespace engram
