#include "kernels/core/tensor.h"

#include "tests/testing.h"

namespace engram {
namespace {

TEST(TensorTest, CheckComparesEveryAxisAfterAFreeOne) {
  float value = 0;
  const Tensor tensor(&value, DType::kFloat32, {2, 3, 4});
  EXPECT_EQ(test::error_of([&] { check_tensor("x", tensor, DType::kFloat32, {-1, 3, -1}); }), "");
  EXPECT_EQ(test::error_of([&] { check_tensor("x", tensor, DType::kFloat32, {2, -1, 4}); }), "");
  EXPECT_NE(test::error_of([&] { check_tensor("x", tensor, DType::kFloat32, {-1, 2, 4}); }), "");
  EXPECT_NE(test::error_of([&] { check_tensor("x", tensor, DType::kFloat32, {2, -1, 3}); }), "");
}

}  // namespace
}  // namespace engram
