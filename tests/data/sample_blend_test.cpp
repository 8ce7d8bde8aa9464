#include "data/sample_blend.h"

#include <cmath>
#include <limits>

#include "tests/testing.h"

namespace engram {
namespace {

using test::error_of;
constexpr int64_t kPeriod = 65536;

TEST(SampleBlendTest, SourcesKeepTheirSharesAndOrder) {
  for (const std::vector<double>& weights : std::vector<std::vector<double>>{
           {1}, {0.7, 0.3}, {3, 1, 1, 2}, {1e-4, 1}, {1e9, 1e9}, {5, 1e-3, 2, 7, 7, 7, 0.1}}) {
    const SampleBlend blend(weights);
    double sum = 0;
    for (const double weight : weights) sum += weight;
    std::vector<int64_t> counts(weights.size());
    for (int64_t n = 0; n < 2 * kPeriod + 1000; ++n) {
      const auto [source, sample] = blend.place_of(n);
      EXPECT_EQ(sample, counts[static_cast<size_t>(source)]++) << "sample " << n;
      const double expected = blend.share(source) * static_cast<double>(n + 1);
      ASSERT_LT(static_cast<double>(counts[static_cast<size_t>(source)]), expected + 1) << "sample " << n;
    }
    for (size_t i = 0; i < weights.size(); ++i) {
      EXPECT_NEAR(blend.share(static_cast<int64_t>(i)), weights[i] / sum, 1.0 / kPeriod);
      const double expected = blend.share(static_cast<int64_t>(i)) * (2 * kPeriod + 1000);
      EXPECT_GT(static_cast<double>(counts[i]), expected - static_cast<double>(weights.size()));
    }
  }
}

TEST(SampleBlendTest, AlternatesWhereWeightsAreEqual) {
  const SampleBlend blend(std::vector<double>{2, 2});
  for (int64_t n = 0; n < 10; ++n) EXPECT_EQ(blend.place_of(n).source, n % 2);
  const SampleBlend far(std::vector<double>{3, 1});
  const SampleBlend::Place place = far.place_of((int64_t{1} << 40) + 2);  // the pattern is 0 0 1 0
  EXPECT_EQ(place.source, 1);
  EXPECT_EQ(place.sample, int64_t{1} << 38);
}

TEST(SampleBlendTest, RefusesWeightsWithoutAShare) {
  const auto error = [](std::vector<double> weights) { return error_of([&] { SampleBlend blend(weights); }); };
  EXPECT_NE(error({1, 0}).find("weight 0 of a sum of 1; wanted above 0"), std::string::npos) << error({1, 0});
  EXPECT_NE(error({1, -1}).find("weight -1"), std::string::npos);
  EXPECT_NE(error({1, std::nan("")}).find("weight"), std::string::npos);
  EXPECT_NE(error({1, std::numeric_limits<double>::infinity()}).find("weight"), std::string::npos);
  EXPECT_NE(error({1, 1e-6}).find("weight 1e-06 of a sum of 1 is no share"), std::string::npos);
}

}  // namespace
}  // namespace engram
