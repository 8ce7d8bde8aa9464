#include "trainer/cli_verb.h"

namespace engram {

void add_doctor(CLI::App& app, DoctorCommand& fields, Command& chosen) {
  CLI::App* verb = add_verb(app, chosen, fields,
                            {"doctor", "Whether this machine, and this job under mpirun, are fit for training.",
                             "mpirun -np 4 engram doctor configs/quickstart.yaml"});
  CLI::Option* config = verb->add_option("config", fields.config, "also look at what this configuration needs (YAML)")
                            ->type_name("CONFIG");
  verb->add_option("--set", fields.sets, "override one key of the configuration; may be repeated")
      ->allow_extra_args(false)
      ->needs(config)
      ->type_name("KEY=VALUE");
  verb->add_option("--dir", fields.directory, "where runs would be written; default: the configuration's, or runs")
      ->type_name("DIR");
}

}  // namespace engram
