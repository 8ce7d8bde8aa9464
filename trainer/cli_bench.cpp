#include "trainer/cli_verb.h"

namespace engram {
namespace {

void add_ops(CLI::App& group, BenchOpsCommand& fields, Command& chosen) {
  CLI::App* verb = add_verb(group, chosen, fields,
                            {"ops", "Rate of each op at the sizes of a configuration, caches cold.",
                             "engram bench ops configs/bench_512.yaml --filter matmul"});
  add_config(verb, fields);
  verb->add_option("--filter", fields.filter, "run the ops with this in their name")->type_name("NAME");
  verb->add_option("--json", fields.json, "file that gets a line for each op")->type_name("FILE");
}

void add_dump(CLI::App& group, BenchDumpCommand& fields, Command& chosen) {
  CLI::App* verb = add_verb(group, chosen, fields,
                            {"dump", "Initial weights and samples as flat files, for another program.",
                             "engram bench dump configs/bench/tiny.yaml --output dump --samples 640"});
  add_config(verb, fields);
  verb->add_option("--output", fields.output, "folder to write")->required()->type_name("DIR");
  verb->add_option("--samples", fields.samples, "samples; those of the whole run unless told")
      ->transform(whole_number(1))
      ->type_name("N");
}

// Options of a verb about the row path.
void add_rows_options(CLI::App* verb, BenchRowsOptions& fields) {
  const auto add_list = [&](const char* name, auto& list, const char* what) {
    return verb->add_option(name, list, what)->delimiter(',')->type_name("N,...");
  };
  CLI::Option* config =
      verb->add_option("config", fields.config, "take tables, width and addresses from this configuration (YAML)")
          ->type_name("CONFIG");
  verb->add_option("--set", fields.sets, "override one key of the configuration; may be repeated")
      ->allow_extra_args(false)
      ->needs(config)
      ->type_name("KEY=VALUE");
  verb->add_option("--device", fields.device, "cpu or cuda")->check(CLI::IsMember({"cpu", "cuda"}))->type_name("NAME");
  add_list("--tokens", fields.tokens, "tokens of a rank's step; 65536 unless told, 1024 on cpu")
      ->transform(whole_number(1));
  verb->add_option("--rows", fields.rows, "rows of the table; unless told as many as fill 20 GiB, 16 MiB on cpu")
      ->transform(whole_number(1))
      ->type_name("N");
  add_list("--widths", fields.widths, "elements of a row; 128 unless told")->transform(whole_number(1));
  add_list("--rows-per-token", fields.rows_per_token, "rows that a token asks for; 16 unless told")
      ->transform(whole_number(1));
  add_list("--zipf", fields.zipf, "exponents of the rows' frequencies, 0 = uniform; 1 unless told")
      ->check(in_range(0.0, 10.0));
  verb->add_option("--values", fields.values, "type of rows on their way; bfloat16 unless told, float32 on cpu")
      ->check(CLI::IsMember({"bfloat16", "float32"}))
      ->type_name("NAME");
  verb->add_option("--json", fields.json, "file that gets a line for each stage")->type_name("FILE");
}

void add_rows(CLI::App& group, BenchCommands& bench, Command& chosen) {
  CLI::App* table = add_verb(group, chosen, bench.table,
                             {"table", "Rates of the row path on one rank: lookup, row gradients, sparse updates.",
                              "engram bench table --widths 64,128 --zipf 0,1"});
  add_rows_options(table, bench.table.options);
  table->add_option("--ids", bench.table.ids, "file that gets the rows asked for, for scripts/peer/rows.py")
      ->type_name("FILE");
  add_rows_options(add_verb(group, chosen, bench.exchange,
                            {"exchange", "Rates of the exchange of rows between ranks, against all-to-all.",
                             "mpirun -np 2 engram bench exchange --widths 80"}),
                   bench.exchange.options);
}

}  // namespace

void add_bench(CLI::App& app, BenchCommands& bench, Command& chosen) {
  const std::string example = "engram bench step configs/bench_512.yaml --steps 20";
  CLI::App* group = add_group(app, {"bench", "Speed of this machine: step, ops, table, exchange, dump.", example});
  add_ops(*group, bench.ops, chosen);
  add_rows(*group, bench, chosen);
  add_dump(*group, bench.dump, chosen);
  CLI::App* verb =
      add_verb(*group, chosen, bench.step, {"step", "Rate of training steps against the matrix product's.", example});
  add_config(verb, bench.step);
  verb->add_option("--steps", bench.step.steps, "measured steps; 10 unless told, 20 on cuda")
      ->transform(whole_number(1))
      ->type_name("N");
  verb->add_option("--warmup", bench.step.warmup, "steps before them; 2 unless told, 10 on cuda")
      ->transform(whole_number(0))
      ->type_name("N");
  verb->add_flag("--profile", bench.step.profile, "time of each op, in three more steps");
  verb->add_option("--json", bench.step.json, "file that gets a line of results")->type_name("FILE");
}

}  // namespace engram
