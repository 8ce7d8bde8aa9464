#include "trainer/evaluate.h"

#include <filesystem>

#include "data/token_store.h"
#include "tests/trainer/tiny_run.h"

namespace engram {
namespace {

// A store of made-up documents.
TokenStore make_store(const std::string& path, const RunConfig& config, int64_t num_documents) {
  std::vector<std::vector<int32_t>> documents;
  int64_t num_tokens = 0;
  for (int64_t i = 0; i < num_documents; ++i) {
    documents.push_back(test::made_up_batch(config, i, 1, 0).tokens);
    num_tokens += static_cast<int64_t>(documents.back().size());
  }
  TokenStoreWriter writer(path, {.tokenizer_digest = "test",
                                 .vocab_size = config.model.vocab_size,
                                 .eos_id = 0,
                                 .num_tokens = num_tokens,
                                 .num_documents = num_documents});
  for (const auto& document : documents) writer.append(document);
  writer.finish();
  return TokenStore::open(path);
}

TEST(Evaluate, GivesOneLossOnAnyNumberOfRanksAndChangesNothing) {
  const RunConfig config = test::tiny_run();
  const std::string path = ::testing::TempDir() + "/evaluate_test.h5";
  std::filesystem::remove(path);
  const TokenStore store = make_store(path, config, 12);
  const int64_t num_samples = 11;  // no multiple of any number of ranks below
  double one = 0;
  for (const int num_ranks : {1, 2, 4}) {
    run_ranks(num_ranks, [&](Communicator& world) {
      test::TinyReplica tiny(config, world, DType::kFloat64);
      const BatchLoader loader(store, {.seq_len = config.data.seq_len,
                                       .history = tiny.replica.history(),
                                       .seed = 0,
                                       .order = SampleOrder::kSequential});
      ASSERT_GE(loader.num_windows(), num_samples);
      const auto before = test::bits_of(tiny.replica);
      const Requests requests(world);
      const double loss = evaluate(tiny.replica, loader, num_samples, requests);
      EXPECT_EQ(test::bits_of(tiny.replica), before);
      EXPECT_EQ(evaluate(tiny.replica, loader, num_samples, requests), loss);
      if (num_ranks == 1) one = loss;
      EXPECT_NEAR(loss, one, 1e-12);
    });
  }
  EXPECT_GT(one, 3.5);  // near log(61): nothing was learnt
  EXPECT_LT(one, 5.0);
}

}  // namespace
}  // namespace engram
