#include "trainer/cli_verb.h"

namespace engram {
namespace {

// What every verb that reads text takes.
template <class Fields>
void add_text(CLI::App* verb, Fields& fields) {
  verb->add_option("inputs", fields.inputs, "text or JSONL files, or directories of them")
      ->required()
      ->type_name("INPUT");
  verb->add_option("--tokenizer", fields.tokenizer, "tokenizer.json (byte-level BPE)")->required()->type_name("FILE");
  verb->add_option("--text-field", fields.text_field, "field of each JSONL line, \"text\" unless told")
      ->type_name("NAME");
  verb->add_option("--threads", fields.threads, "threads that encode; default: one per processor")
      ->transform(whole_number(1))
      ->type_name("N");
}

void add_tokenize(CLI::App& group, DataTokenizeCommand& fields, Command& chosen) {
  CLI::App* verb = add_verb(group, chosen, fields,
                            {"tokenize", "Token ids of text files, a line per document.",
                             "engram data tokenize book.txt --tokenizer data/tokenizers/english_8k/tokenizer.json"});
  add_text(verb, fields);
  verb->add_flag("--added-tokens", fields.added_tokens, "added tokens spelt out in the text are those tokens");
}

void add_build(CLI::App& group, DataBuildCommand& fields, Command& chosen, const std::string& example) {
  CLI::App* verb = add_verb(group, chosen, fields, {"build", "Text files to a token store.", example});
  add_text(verb, fields);
  verb->add_option("--output", fields.output, "token store to write")->required()->type_name("STORE");
  CLI::Option* output =
      verb->add_option("--holdout-output", fields.holdout_output, "store of held-out documents")->type_name("STORE");
  verb->add_option("--holdout", fields.holdout, "share of documents that is held out")
      ->check(in_range(0.0, 0.999))
      ->needs(output)
      ->type_name("X");
  verb->add_option("--shuffle,--seed", fields.seed, "seed of the order of documents")
      ->transform(whole_number(0))
      ->type_name("SEED");
  verb->add_option_function<std::string>(
          "--on-error", [&fields](const std::string& policy) { fields.skip_bad = policy == "skip"; },
          "bad records: stop (unless told) or skip")
      ->check(CLI::IsMember({"stop", "skip"}))
      ->type_name("POLICY");
}

void add_inspect(CLI::App& group, DataInspectCommand& fields, Command& chosen) {
  CLI::App* verb = add_verb(
      group, chosen, fields,
      {"inspect", "What a token store holds: counts, sources, lengths, text.", "engram data inspect books.h5"});
  verb->add_option("store", fields.store, "token store")->required()->type_name("STORE");
  CLI::Option* tokenizer =
      verb->add_option("--tokenizer", fields.tokenizer, "tokenizer.json it was made with")->type_name("FILE");
  verb->add_option("--show", fields.show, "print the text of the first N documents")
      ->transform(whole_number(0))
      ->needs(tokenizer)
      ->type_name("N");
}

void add_verify(CLI::App& group, DataVerifyCommand& fields, Command& chosen) {
  CLI::App* verb = add_verb(group, chosen, fields,
                            {"verify", "Compare every digest of token stores.", "engram data verify books.h5"});
  verb->add_option("stores", fields.stores, "token stores")->required()->type_name("STORE");
}

void add_ngrams(CLI::App& group, DataNgramsCommand& fields, Command& chosen) {
  CLI::App* verb = add_verb(group, chosen, fields,
                            {"ngrams", "How n-grams of the training data share the rows of tables.",
                             "engram data ngrams configs/english_1m.yaml --tokens 5000000"});
  add_config(verb, fields);
  verb->add_option("--tokens", fields.tokens, "first tokens in the order of training; 1000000 unless told")
      ->transform(whole_number(1))
      ->type_name("N");
}

}  // namespace

void add_data(CLI::App& app, DataCommands& data, Command& chosen) {
  const std::string example =
      "engram data build books/ --tokenizer data/tokenizers/english_8k/tokenizer.json --output books.h5";
  CLI::App* group = add_group(app, {"data", "Token stores: build, inspect, verify, ngrams, tokenize.", example});
  add_build(*group, data.build, chosen, example);
  add_inspect(*group, data.inspect, chosen);
  add_verify(*group, data.verify, chosen);
  add_ngrams(*group, data.ngrams, chosen);
  add_tokenize(*group, data.tokenize, chosen);
}

}  // namespace engram
