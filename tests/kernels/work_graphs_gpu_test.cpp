#include "kernels/core/work_graphs.h"

#include "kernels/elementwise.h"
#include "tests/gpu_testing.h"

namespace engram {
namespace {

struct WorkGraphsGpuTest : test::GpuFixture {
  Tensor steps() { return to_device(test::tensor_of<float>(host, {0, 1, 2, 3}, {4})); }
};

TEST_F(WorkGraphsGpuTest, RepeatTheWorkOfEachKey) {
  const Tensor increment = steps(), first = steps(), second = steps();
  WorkGraphs graphs(2);
  int num_calls = 0;
  for (const Tensor& sum : {first, second, first, second, first, first}) {
    graphs.run(stream, {sum.data}, [&] {
      ++num_calls;
      accumulate(stream, increment, sum);
    });
  }
  EXPECT_EQ(num_calls, 4);  // for each key once to run and once to be recorded
  EXPECT_EQ(graphs.num_launched(), 4);
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(test::element(download(first), i), 5.0 * static_cast<double>(i));
    EXPECT_EQ(test::element(download(second), i), 3.0 * static_cast<double>(i));
  }
}

TEST_F(WorkGraphsGpuTest, AreForgottenWhereTooManyKeysCome) {
  const Tensor increment = steps(), sum = steps();
  for (const auto& [max_keys, num_launched] : {std::pair{99, 0}, {100, 200}}) {
    WorkGraphs graphs(max_keys);
    for (int64_t i = 0; i < 300; ++i) {
      graphs.run(stream, {&graphs + i % 100}, [&] { accumulate(stream, increment, sum); });
    }
    EXPECT_EQ(graphs.num_launched(), num_launched);
  }
  EXPECT_EQ(test::element(download(sum), 3), 601 * 3.0);
}

TEST_F(WorkGraphsGpuTest, AnErrorInTheWorkLeavesTheStreamUsable) {
  const Tensor increment = steps(), sum = steps();
  WorkGraphs graphs(1);
  graphs.run(stream, {sum.data}, [] {});
  EXPECT_EQ(test::error_of([&] { graphs.run(stream, {sum.data}, [] { throw Error("no work"); }); }), "no work");
  accumulate(stream, increment, sum);
  EXPECT_EQ(test::element(download(sum), 3), 6.0);
}

TEST_F(WorkGraphsGpuTest, AnErrorOfTheRecordingSaysHowToDoWithoutGraphs) {
  const Tensor increment = steps(), sum = steps();
  WorkGraphs graphs(1);
  const auto run = [&] { graphs.run(stream, {sum.data}, [&] { synchronize(stream); }); };
  run();
  const std::string error = test::error_of(run);
  EXPECT_NE(error.find("cudaErrorStreamCapture"), std::string::npos) << error;
  EXPECT_NE(error.find("train.graphs: false"), std::string::npos) << error;
  accumulate(stream, increment, sum);
  EXPECT_EQ(test::element(download(sum), 3), 6.0);
}

}  // namespace
}  // namespace engram
