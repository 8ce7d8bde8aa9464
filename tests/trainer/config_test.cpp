#include "trainer/config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>

#include "kernels/core/device.h"
#include "tests/trainer/config_testing.h"
#include "trainer/compute.h"

namespace engram {
namespace {

using test::kSmallConfig;
using test::refusal;
using test::refused_file;
using test::refused_set;
using test::small_config;

std::string small_config_with(std::string_view line) { return std::string(kSmallConfig) + std::string(line) + "\n"; }

TEST(Config, DefaultsFileOverrides) {
  EXPECT_EQ(small_config().optimizer.dense.lr, DenseOptimizerConfig{}.lr);
  const std::string text = small_config_with("optimizer: {dense: {lr: 0.25}}");
  EXPECT_EQ(parse_config(text, "c.yaml").optimizer.dense.lr, 0.25);
  const auto changed = parse_config(text, "c.yaml", {"optimizer.dense.lr=0.5", "optimizer.dense.lr=0.75"});
  EXPECT_EQ(changed.optimizer.dense.lr, 0.75);  // a later one wins
}

TEST(Config, ReadsEveryType) {
  const RunConfig config = small_config({"run.name=first try", "model.engram.layers=[0, 1]", "train.recompute=true",
                                         "device=cuda", "model.norm_eps=1e-20", "model.engram.rows_per_head=77"});
  EXPECT_EQ(config.run.name, "first try");
  EXPECT_EQ(config.model.engram.layers, (std::vector<int64_t>{0, 1}));
  EXPECT_TRUE(config.train.recompute);
  EXPECT_EQ(config.device, DeviceChoice::kCuda);
  EXPECT_EQ(config.model.norm_eps, 1e-20);
  EXPECT_EQ(config.model.engram.rows_per_head, std::vector<int64_t>{77});
}

TEST(Config, RefusesUnknownKeys) {
  EXPECT_EQ(refused_file(small_config_with("logging: {interval_step: 5}")),
            "c.yaml:10:11: logging.interval_step: unknown key; did you mean \"interval_steps\"? "
            "(known: interval_steps, interval_seconds, tensorboard)");
  EXPECT_EQ(refused_set({"logging.verbosity=3"}),
            "--set logging.verbosity=3: logging.verbosity: unknown key "
            "(known: interval_steps, interval_seconds, tensorboard)");
  EXPECT_NE(refused_set({"model.heads=3"}).find("did you mean \"model.engram.heads\"?"), std::string::npos);
  EXPECT_NE(refused_set({"optimizer.lr=3"}).find("did you mean \"optimizer.dense.lr\"?"), std::string::npos);
  EXPECT_NE(refused_file(small_config_with("run.name: a")).find("c.yaml:10:1: run.name: unknown key"),
            std::string::npos);
  EXPECT_NE(refused_file(small_config_with("<<: {run: {name: a}}")).find("<<: unknown key"), std::string::npos);
}

TEST(Config, RefusesDuplicateKeys) {
  EXPECT_EQ(refused_file(small_config_with("run:\n  name: a\n  seed: 1\n  name: a")),
            "c.yaml:13:3: run.name: given twice, first in line 11");
  EXPECT_EQ(refused_file(small_config_with("model: {hidden: 3}")), "c.yaml:10:1: model: given twice, first in line 1");
}

struct WrongType {
  const char* change;
  const char* want;
};

const WrongType kWrongTypes[] = {{"data.seq_len=1e3", "\"1e3\" is not an integer"},
                                 {"data.seq_len=12.0", "\"12.0\" is not an integer"},
                                 {"data.seq_len=0x10", "\"0x10\" is not an integer"},
                                 {"data.seq_len=+5", "\"+5\" is not an integer"},
                                 {"data.seq_len=010", "\"010\" has a leading zero"},
                                 {"data.seq_len=\"10\"", "\"10\" is quoted text, not an integer"},
                                 {"data.seq_len=[10]", "a list; wanted an integer"},
                                 {"data.seq_len=", "nothing; wanted an integer"},
                                 {"data.seq_len=~", "nothing; wanted an integer"},
                                 {"data.seq_len=99999999999999999999", "does not fit"},
                                 {"optimizer.dense.lr=fast", "\"fast\" is not a number"},
                                 {"optimizer.dense.lr=.nan", "\".nan\" is not a number"},
                                 {"optimizer.dense.lr=nan", "\"nan\" is not a number"},
                                 {"optimizer.dense.lr=-inf", "\"-inf\" is not a number"},
                                 {"optimizer.dense.lr=1e999", "\"1e999\" does not fit"},
                                 {"optimizer.dense.lr=00.5", "\"00.5\" has a leading zero"},
                                 {"optimizer.dense.lr=0.5f", "\"0.5f\" is not a number"},
                                 {"train.recompute=yes", "\"yes\" is not true or false"},
                                 {"train.recompute=True", "\"True\" is not true or false"},
                                 {"train.recompute=1", "\"1\" is not true or false"},
                                 {"train.recompute='true'", "is quoted text"},
                                 {"run.name=[a]", "a list; wanted text"},
                                 {"run.name=", "nothing; wanted text"},
                                 {"optimizer.table.kind=adam_lasy",
                                  "\"adam_lasy\" is none of adam_lazy, adam_dense, rowwise_adam, rowwise_adagrad, sgd; "
                                  "did you mean \"adam_lazy\"?"},
                                 {"optimizer.table.kind=rowwise", "\"rowwise\" is none of adam_lazy, adam_dense, "},
                                 {"optimizer.table=3", "optimizer.table: \"3\"; wanted a section with keys below it"},
                                 {"model.engram.layers=[1, two]", "element 1: \"two\" is not an integer"},
                                 {"model.engram.layers={a: 1}", "a section with keys; wanted a list of integers"},
                                 {"model.engram.layers=[1", "not valid YAML"},
                                 {"run.name=&x a", "anchors are not supported"},
                                 {"run.name=!!str a", "tags are not supported"},
                                 {"run.name=! a", "tags are not supported"},
                                 {"run.name=*x", "the referenced anchor is not defined"},
                                 {"train.steps", "wanted path=value"},
                                 {"=3", "wanted path=value"},
                                 {"model..hidden=3", "unknown key"}};

TEST(Config, RefusesWrongTypes) {
  EXPECT_EQ(refused_file(small_config_with("data: {seq_len: 4k}")),
            "c.yaml:10:17: data.seq_len: \"4k\" is not an integer");
  EXPECT_EQ(refused_set({"data.seq_len=4k"}), "--set data.seq_len=4k: data.seq_len: \"4k\" is not an integer");
  for (const WrongType& c : kWrongTypes) {
    const std::string message = refused_set({c.change});
    EXPECT_NE(message.find(c.want), std::string::npos) << c.change << " -> " << message;
    EXPECT_EQ(message.find("--set "), 0u) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << "more than one complaint: " << message;
  }
}

TEST(Config, RefusesValuesOutsideTheirRange) {
  EXPECT_EQ(refused_file(small_config_with("optimizer:\n  dense:\n    weight_decay: 1.5")),
            "c.yaml:12:19: optimizer.dense.weight_decay: 1.5 is outside [0, 1]");
  EXPECT_EQ(refused_set({"model.engram.layers=[-1]"}),
            "--set model.engram.layers=[-1]: model.engram.layers: -1 is outside [0, 100000]");
  EXPECT_NE(refused_set({"run.seed=9007199254740993"}).find("outside"), std::string::npos);
  EXPECT_EQ(refused_set({"run.seed=9007199254740992"}), "");
}

TEST(Config, RefusesMissingKeys) {
  const std::string message = refused_file("model: {vocab_size: 10}\n");
  for (const char* key : {"model.hidden", "model.num_layers", "model.attention.num_heads", "train.steps"}) {
    EXPECT_NE(message.find(std::string("c.yaml: ") + key + ": missing; wanted an integer"), std::string::npos) << key;
  }
  EXPECT_EQ(message.find("outside"), std::string::npos) << "a missing key is one complaint, not two: " << message;
  EXPECT_EQ(message.find("vocab_size"), std::string::npos);
}

TEST(Config, ReportsEverythingInOnePassInOrder) {
  const std::string message = refused_file(
      "modle: 3\n"
      "model:\n"
      "  vocab_size: 4k\n"
      "  hidden: 64\n"
      "  num_layers: 2\n"
      "  hidden: 3\n"
      "  ffn_hidden: 128\n"
      "  attention: {num_heads: 4, num_kv_heads: 3, head_dim: 16}\n"
      "train: {steps: 1, global_bach: 8}\n"
      "optimizer: {dense: {weight_decay: 1.5}}\n");
  std::vector<std::string> starts;
  for (size_t at = 0; at != std::string::npos;) {
    const size_t end = message.find('\n', at);
    const std::string line = message.substr(at, end - at);
    starts.push_back(line.substr(0, line.find(": ")));
    at = end == std::string::npos ? end : end + 1;
  }
  EXPECT_EQ(starts, (std::vector<std::string>{"c.yaml:1:1", "c.yaml:3:15", "c.yaml:6:3", "c.yaml:8:43", "c.yaml:9:19",
                                              "c.yaml:10:35"}))
      << message;
}

TEST(Config, OneMistakeIsOneComplaint) {
  const auto lines = [](const std::string& message) { return std::count(message.begin(), message.end(), '\n') + 1; };
  EXPECT_EQ(lines(refused_set({"model.hiden=3", "model.moe.top_k=9"})), 2);
  std::string misspelt(kSmallConfig);
  misspelt.replace(misspelt.find("memory_dim"), 10, "memory_dmi");
  misspelt.replace(misspelt.find("hidden"), 6, "hiden");
  EXPECT_EQ(lines(refused_file(misspelt)), 2) << refused_file(misspelt);
  misspelt = kSmallConfig;
  misspelt.replace(misspelt.find("num_kv_heads: 2"), 15, "num_kv_heads: x");
  EXPECT_EQ(lines(refused_file(misspelt)), 1) << refused_file(misspelt);
}

TEST(Config, FileThatCannotBeRead) {
  EXPECT_NE(refusal([] { load_config("no/such.yaml"); }).find("no/such.yaml: cannot be opened"), std::string::npos);
  EXPECT_NE(refusal([] { load_config("/"); }), "");
  const std::string path = ::testing::TempDir() + "config_test.yaml";
  std::ofstream(path) << kSmallConfig;
  EXPECT_EQ(print_config(load_config(path)), print_config(small_config()));
  std::remove(path.c_str());
}

TEST(Config, WorldRules) {
  const RunConfig config = small_config({"train.global_batch=24", "train.micro_batch=2"});
  for (const int64_t ranks : {1, 2, 3, 4, 6, 12}) EXPECT_NO_THROW(check_world(config, ranks)) << ranks;
  EXPECT_NE(refusal([&] { check_world(config, 5); }).find("train.global_batch: 24 is no multiple of"),
            std::string::npos);
  const auto refused = [](const std::vector<std::string>& changes, int64_t ranks) {
    return refusal([&] { check_world(small_config(changes), ranks); });
  };
  EXPECT_NE(refused({"parallel.table=2"}, 4).find("parallel.table: 2 of 4 ranks"), std::string::npos);
  EXPECT_EQ(refused({"parallel.expert=4"}, 2), "parallel.expert: 4 does not divide the 2 ranks of this run");
  EXPECT_EQ(refused({"parallel.table=4"}, 4), "");
  const std::vector<std::string> tiny{"model.engram.rows_per_head=2", "train.global_batch=32"};
  EXPECT_EQ(refused(tiny, 16), "");  // 2 orders x 4 heads x 2 rows
  EXPECT_EQ(refused(tiny, 32),
            "model.engram.rows_per_head: 16 rows in a layer's table are fewer than the 32 ranks that share it");
}

TEST(Config, SilenceLastsSomeSignsOfLife) {
  EXPECT_EQ(refusal([] { small_config({"parallel.silence_seconds=0"}); }), "");
  EXPECT_EQ(refusal([] { small_config({"parallel.silence_seconds=3"}); }), "");
  EXPECT_NE(refusal([] { small_config({"parallel.silence_seconds=0.5"}); }).find("parallel.silence_seconds: 0.5"),
            std::string::npos);
}

TEST(Config, PrecisionAndDevice) {
  EXPECT_EQ(model_dtype(small_config()), DType::kFloat32);
  EXPECT_EQ(model_dtype(small_config({"device=cuda"})), DType::kBFloat16);
  EXPECT_EQ(model_dtype(small_config({"device=cuda", "train.precision=float32"})), DType::kFloat32);
  const std::string narrow = refused_set({"train.precision=bfloat16"});
  EXPECT_NE(narrow.find("bfloat16 on cpu; wanted float32 or auto"), std::string::npos) << narrow;
  const std::string cuda = refusal([] { check_computable(small_config({"device=cuda"})); });
  EXPECT_EQ(cuda.find("was built without CUDA; wanted cpu") == std::string::npos, built_with_cuda()) << cuda;
}

TEST(Config, StoresToTrainOnArePathsOrAWeightedList) {
  const auto stores = [](const std::string& value) { return small_config({"data.train=" + value}).data.train; };
  ASSERT_EQ(stores("a.h5").size(), 1u);
  EXPECT_EQ(stores("a.h5")[0].store, "a.h5");
  EXPECT_EQ(stores("a.h5")[0].weight, 1);
  EXPECT_TRUE(stores("\"\"").empty());
  const auto two = stores("[{store: a.h5, weight: 0.7}, {weight: 3, store: \"b c.h5\"}]");
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[1].store, "b c.h5");
  EXPECT_EQ(two[1].weight, 3);
  for (const std::string value :
       {"a.h5", "[{store: a.h5, weight: 0.7}, {store: \"b c.h5\", weight: 3}]", "[{store: a.h5, weight: 2}]"}) {
    const std::string printed = print_config(small_config({"data.train=" + value}));
    EXPECT_NE(printed.find("\n  train: " + value + "\n"), std::string::npos) << printed;
    EXPECT_EQ(print_config(parse_config(printed, "printed")), printed);
  }
  const auto refused = [](const std::string& value, const std::string& words) {
    const std::string message = refused_set({"data.train=" + value});
    EXPECT_NE(message.find("data.train: " + words), std::string::npos) << message;
  };
  refused("[a.h5, b.h5]", "element 0: \"a.h5\"; wanted {store: PATH, weight: NUMBER}");
  refused("{store: a.h5, weight: 1}", "a section with keys; wanted a token store, or a list of");
  refused("[{store: a.h5}]", "element 0: weight: missing");
  refused("[{store: a.h5, weight: 1, wieght: 2}]", "element 0: wieght: unknown key, or given twice");
  refused("[{store: a.h5, weight: 1, weight: 2}]", "element 0: weight: unknown key, or given twice");
  refused("[{store: a.h5, weight: much}]", "element 0: weight: \"much\" is not a number");
  refused("[{store: a.h5, weight: 0}]", "store \"a.h5\" of weight 0; wanted a token store and a weight above 0");
  refused("[{store: \"\", weight: 1}]", "store \"\" of weight 1; wanted");
}

TEST(Config, TrainingRefusesWhatOnlyAccountingKnows) {
  const std::vector<std::string> data{"data.train=a.h5", "data.tokenizer=t.json"};
  const auto refused = [&](std::vector<std::string> changes) {
    changes.insert(changes.end(), data.begin(), data.end());
    return refusal([&] { check_trainable(small_config(changes)); });
  };
  EXPECT_EQ(refused({}), "");
  EXPECT_NE(refused({"model.attention.kind=mla", "model.attention.num_kv_heads=4"}).find("model.attention.kind: mla"),
            std::string::npos);
  EXPECT_NE(refused({"model.connections={kind: mhc, streams: 4}"}).find("model.connections.kind: mhc"),
            std::string::npos);
  EXPECT_NE(refusal([] { check_trainable(small_config()); }).find("data.train: is empty"), std::string::npos);
}

// Accounting, and the use of a checkpoint, do not look at it.
TEST(Config, TrainingRefusesAWarmUpLongerThanTheRun) {
  for (const char* kind : {"cosine", "step", "constant"}) {
    const auto refused = [&](const char* warmup) {
      const RunConfig config = small_config({"data.train=a.h5", "data.tokenizer=t.json", "train.steps=6",
                                             std::string("optimizer.schedule.kind=") + kind,
                                             std::string("optimizer.schedule.warmup_steps=") + warmup});
      return refusal([&] { check_trainable(config); });
    };
    EXPECT_EQ(refused("6"), "");
    EXPECT_NE(refused("7").find("optimizer.schedule.warmup_steps: 7 are more than train.steps 6"), std::string::npos);
  }
}

}  // namespace
}  // namespace engram
