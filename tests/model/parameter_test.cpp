#include "model/parameter.h"

#include "tests/testing.h"

namespace engram {
namespace {

struct Store {
  explicit Store(bool with_more) : store(DType::kFloat32) {
    if (with_more) store.add("first", ParameterKind::kMatrix, {3, 5}, 1.0);
    shared = &store.add("shared", ParameterKind::kMatrix, {4, 7}, 0.5);
    if (with_more) store.add("last", ParameterKind::kVector, {2}, 0.0, 1.0);
    store.allocate(stream, OwnershipMap(store.numels(), 1, ZeroPolicy::kFlat));
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

TEST(ParameterStore, RefusesANameTwice) {
  ParameterStore store(DType::kFloat32);
  store.add("weight", ParameterKind::kVector, {2}, 0.0);
  EXPECT_NE(test::error_of([&] { store.add_state("weight", DType::kInt64, {2}); }).find("two parameters named weight"),
            std::string::npos);
}

}  // namespace
}  // namespace engram
