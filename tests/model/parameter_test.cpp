#include "model/parameter.h"

#include "tests/testing.h"

namespace engram {
namespace {

struct Store {
  explicit Store(bool with_more) : store(DType::kFloat32) {
    if (with_more) store.add("first", {3, 5}, 1.0);
    shared = &store.add("shared", {4, 7}, 0.5);
    if (with_more) store.add("last", {2}, 0.0, 1.0);
    store.allocate(stream, 1);
    store.initialize(stream, 9);
  }
  Stream stream = CpuQueue{};
  ParameterStore store;
  Parameter* shared = nullptr;
};

TEST(ParameterStore, InitialValuesDependOnTheNameAndNotOnTheNeighbours) {
  const Store alone(false), among_others(true);
  EXPECT_TRUE(test::same_bits(alone.shared->value, among_others.shared->value));
  const Parameter& first = among_others.store.parameters()[0];
  EXPECT_NE(test::element(first.value, 0), 2 * test::element(alone.shared->value, 0));
}

TEST(ParameterStore, BucketsAreWholeLayersOfAtLeastSoManyElements) {
  ParameterStore store(DType::kFloat32);
  const auto add = [&](const char* name, int64_t numel) { store.add(name, {numel}, 1.0); };
  add("embedding", 30);
  for (const char* name : {"layer 0", "layer 1", "layer 2", "layer 3"}) {
    store.begin_layer(name[6] - '0');
    if (name[6] != '1') add(name, 100);  // layer 1 has nothing here
  }
  add("head", 1);
  Stream stream = CpuQueue{};
  const auto buckets = [&](int64_t min_elements) {
    store.allocate(stream, 3, min_elements);
    std::vector<std::array<int64_t, 3>> found;  // first parameter, how many, first layer
    for (const ParameterBucket& b : store.buckets()) {
      found.push_back({b.first_parameter, b.ownership.num_parameters(), b.first_layer});
    }
    return found;
  };
  using Buckets = std::vector<std::array<int64_t, 3>>;
  EXPECT_EQ(buckets(0), (Buckets{{0, 1, -1}, {1, 1, 0}, {2, 1, 2}, {3, 2, 3}}));
  EXPECT_EQ(buckets(130), (Buckets{{0, 2, -1}, {2, 3, 2}}));
  EXPECT_EQ(buckets(1000), (Buckets{{0, 5, -1}}));

  buckets(1);
  int64_t number = 0;
  for (const Parameter& parameter : store.parameters()) {  // each in its bucket, apart from the others
    for (float& value : host_span<float>(parameter.value)) value = static_cast<float>(number);
    ++number;
  }
  EXPECT_EQ(store.values().numel(), 4 * 3 * 64);
  EXPECT_EQ(test::element(store.buckets()[2].values, 99), 2);
  EXPECT_EQ(test::element(store.buckets()[2].values, 100), 0);  // padding
  EXPECT_EQ(test::element(store.buckets()[3].values, 128), 4);  // the head, after layer 3
}

TEST(ParameterStore, RefusesANameTwice) {
  ParameterStore store(DType::kFloat32);
  store.add("weight", {2}, 0.0);
  EXPECT_NE(test::error_of([&] { store.add_state("weight", DType::kInt64, {2}); }).find("two parameters named weight"),
            std::string::npos);
  store.add_state("bias", DType::kInt64, {2});
  EXPECT_NE(test::error_of([&] { store.add("bias", {2}, 0.0); }).find("two state arrays named"), std::string::npos);
  store.add("costarring", {2}, 0.0);  // FNV-1a of 32 bits gives both one key
  EXPECT_NE(test::error_of([&] { store.add("liquid", {2}, 0.0); }).find("rename one"), std::string::npos);
  EXPECT_EQ(store.parameters().size(), 2u);
}

}  // namespace
}  // namespace engram
