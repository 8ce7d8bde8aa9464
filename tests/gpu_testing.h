#pragma once

#include <optional>

#include "tests/testing.h"

// What tests of CUDA twins share. Inputs are made in double, rounded to the tested type, and given both to the twin
// and, widened again, to the double CPU form, so that the only difference is the twin's own arithmetic.
namespace engram::test {

// Skips where there is no CUDA device.
struct GpuFixture : ::testing::Test {
  void SetUp() override {
    if (num_cuda_devices() == 0) GTEST_SKIP() << "no CUDA device";
    stream = make_stream(Device::kCuda);
    device.emplace(Device::kCuda, int64_t{1} << 30);
  }

  // A host tensor of doubles as `dtype` on the device; a poisoned output of a shape.
  Tensor upload(const Tensor& values, DType dtype) {
    const Tensor target = like(*device, values, dtype);
    const Tensor staged = round_to(values, dtype);
    copy(stream, staged, target);
    synchronize(stream);
    return target;
  }
  // The same bits on the device.
  Tensor to_device(const Tensor& values) {
    const Tensor target = like(*device, values, values.dtype);
    copy(stream, values, target);
    synchronize(stream);
    return target;
  }
  Tensor poisoned(DType dtype, std::initializer_list<int64_t> shape) {
    const Tensor target = device->take("test.output", dtype, shape);
    const std::vector<uint8_t> bytes(static_cast<size_t>(target.num_bytes()), 0xff);
    copy(stream, Tensor(const_cast<uint8_t*>(bytes.data()), DType::kUInt8, {target.num_bytes()}), target);
    synchronize(stream);
    return target;
  }
  // The same bits on the host.
  Tensor to_host(const Tensor& values) {
    const Tensor target = like(host, values, values.dtype);
    copy(stream, values, target);
    synchronize(stream);
    return target;
  }
  // The device's values as doubles on the host.
  Tensor download(const Tensor& values) {
    const Tensor staged = like(host, values, values.dtype);
    copy(stream, values, staged);
    synchronize(stream);
    return widen(staged);
  }
  // What upload() gave the device, as doubles on the host.
  Tensor rounded(const Tensor& values, DType dtype) { return widen(round_to(values, dtype)); }

  static double bound(DType dtype) {
    return dtype == DType::kBFloat16 ? 1e-2 : dtype == DType::kFloat32 ? 1e-6 : 1e-13;
  }

  Stream stream = DryQueue{};
  Stream cpu = CpuQueue{};
  Arena host{Device::kCpu, int64_t{256} << 20, /*poison=*/true};
  std::optional<Arena> device;

 private:
  static Tensor like(Arena& arena, const Tensor& values, DType dtype) {
    Tensor result = arena.take("test.like", dtype, {values.numel()});
    result.rank = values.rank;
    result.dims = values.dims;
    return result;
  }
  Tensor round_to(const Tensor& values, DType dtype) {
    const Tensor result = like(host, values, dtype);
    for (int64_t i = 0; i < values.numel(); ++i) {
      const double value = element(values, i);
      if (dtype == DType::kBFloat16)
        static_cast<bfloat16*>(result.data)[i] = bfloat16(static_cast<float>(value));
      else
        set_element(result, i, value);
    }
    return result;
  }
  Tensor widen(const Tensor& values) {
    const Tensor result = like(host, values, DType::kFloat64);
    for (int64_t i = 0; i < values.numel(); ++i) {
      const bool narrow = values.dtype == DType::kBFloat16;
      set_element(result, i, narrow ? double{float(static_cast<const bfloat16*>(values.data)[i])} : element(values, i));
    }
    return result;
  }
};

}  // namespace engram::test
