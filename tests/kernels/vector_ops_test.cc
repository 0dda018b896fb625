#include "flame/kernels/vector_ops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "kernel_test.h"

namespace flame::kernels {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::size_t kSizes[] = {1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 64, 100, 1000};

class VectorOpsTest : public KernelTest {};

TEST_P(VectorOpsTest, RmsNormDividesByTheRootMeanSquare) {
  for (const std::size_t size : kSizes) {
    const Matrix<float> input = random_matrix(20, size, 1);
    const Matrix<float> weight = random_matrix(1, size, 2);
    Matrix<float> expected(20, size);
    for (std::size_t t = 0; t < 20; ++t) {
      double sum = 0.0;
      for (const float x : input.row(t)) sum += static_cast<double>(x) * static_cast<double>(x);
      const double root = std::sqrt(sum / static_cast<double>(size) + 1e-6);
      for (std::size_t i = 0; i < size; ++i) {
        expected.row(t)[i] = static_cast<float>(static_cast<double>(weight.row(0)[i]) * input.row(t)[i] / root);
      }
    }
    Matrix<float> output = input;
    rms_norm(output, weight.row(0), 1e-6F, output);
    expect_near(output, expected, 4e-6F, "rms_norm of " + std::to_string(size));
  }
}

TEST_P(VectorOpsTest, SoftmaxSumsToOneAndKeepsRatios) {
  for (const std::size_t size : kSizes) {
    Matrix<float> values = random_matrix(1, size, 3);
    for (float& value : values.row(0)) value = value * 30.0F + 500.0F;
    Matrix<float> expected(1, size);
    const double largest = *std::max_element(values.row(0).begin(), values.row(0).end());
    double sum = 0.0;
    for (const float value : values.row(0)) sum += std::exp(static_cast<double>(value) - largest);
    for (std::size_t i = 0; i < size; ++i) {
      expected.row(0)[i] = static_cast<float>(std::exp(static_cast<double>(values.row(0)[i]) - largest) / sum);
    }
    softmax(values.row(0));
    expect_near(values, expected, 1e-6F, "softmax of " + std::to_string(size));
  }
}

TEST_P(VectorOpsTest, SoftmaxOfAMaskedPositionIsExactlyZero) {
  std::vector<float> values(37, 0.0F);
  values[5] = -kInfinity;
  values[36] = std::numeric_limits<float>::lowest();
  softmax(values);
  EXPECT_EQ(values[5], 0.0F);
  EXPECT_EQ(values[36], 0.0F);
  EXPECT_NEAR(values[0], 1.0F / 35.0F, 1e-7F);
}

TEST_P(VectorOpsTest, DotEqualsTheSumOfProducts) {
  for (const std::size_t size : kSizes) {
    const Matrix<float> values = random_matrix(2, size, 4);
    double expected = 0.0;
    for (std::size_t i = 0; i < size; ++i) expected += static_cast<double>(values.row(0)[i]) * values.row(1)[i];
    EXPECT_NEAR(dot(values.row(0), values.row(1)), expected, sum_tolerance(size)) << size;
  }
}

TEST_P(VectorOpsTest, MaxAbsFindsTheLargestMagnitudeWhereverItStands) {
  for (const std::size_t size : kSizes) {
    for (std::size_t position = 0; position < size; ++position) {
      Matrix<float> values = random_matrix(1, size, 5);
      values.row(0)[position] = -3.0F;
      ASSERT_EQ(max_abs(values.row(0)), 3.0F) << position << " of " << size;
    }
  }
  EXPECT_EQ(max_abs({}), 0.0F);
}

TEST_P(VectorOpsTest, ArgmaxTakesTheFirstOfEqualOnesAndIgnoresNan) {
  for (const std::size_t size : kSizes) {
    for (std::size_t position = 0; position < size; ++position) {
      std::vector<float> values(size, -1.0F);
      std::fill(values.begin() + static_cast<std::ptrdiff_t>(position), values.end(), 2.0F);
      if (position > 0) values[position / 2] = kNan;
      ASSERT_EQ(argmax(values), position) << size;
    }
  }
  EXPECT_EQ(argmax(std::vector<float>{kNan, kNan}), 0U);
  EXPECT_EQ(argmax(std::vector<float>{-kInfinity, -kInfinity}), 0U);
}

TEST_P(VectorOpsTest, RoundsToBf16AsOneNumberIsRounded) {
  // Every upper half with lower halves around the tie, NaN and infinities among them, from an odd place on.
  std::vector<float> values{1.0F};
  for (std::uint32_t upper = 0; upper <= 0xffffU; ++upper) {
    for (const std::uint32_t lower : {0U, 1U, 0x7fffU, 0x8000U, 0x8001U, 0xffffU}) {
      values.push_back(std::bit_cast<float>(upper << 16 | lower));
    }
  }
  std::vector<BFloat16> rounded(values.size());
  round_to_bf16(values, rounded);
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(rounded[i], BFloat16::from_float(values[i])) << std::hex << std::bit_cast<std::uint32_t>(values[i]);
  }
}

TEST_P(VectorOpsTest, StoresAsF32OrBf16) {
  for (const std::size_t size : kSizes) {
    const Matrix<float> values = random_matrix(1, size, 5);
    std::vector<float> floats(size);
    store(values.row(0), DataType::kF32, reinterpret_cast<std::byte*>(floats.data()));
    std::vector<BFloat16> narrow(size);
    store(values.row(0), DataType::kBF16, reinterpret_cast<std::byte*>(narrow.data()));
    for (std::size_t i = 0; i < size; ++i) {
      EXPECT_EQ(floats[i], values.row(0)[i]);
      EXPECT_EQ(narrow[i], BFloat16::from_float(values.row(0)[i]));
    }
  }
}

FLAME_TEST_ON_ALL_INSTRUCTION_SETS(VectorOpsTest);

TEST(ActivationTest, NamesOfConfigurationsAreKnown) {
  Activation activation = Activation::kSilu;
  EXPECT_TRUE(parse_activation("relu", activation));
  EXPECT_EQ(activation, Activation::kRelu);
  EXPECT_TRUE(parse_activation("gelu_new", activation));
  EXPECT_EQ(name_of(activation), "gelu_new");
  EXPECT_FALSE(parse_activation("swiglu", activation));
}

TEST(ActivationTest, ValuesAreThoseOfTorch) {
  // torch.nn.functional: relu, gelu, gelu(approximate="tanh"), silu of these inputs.
  const std::vector<float> inputs = {-3.0F, -0.5F, 0.0F, 0.25F, 2.0F};
  const auto check = [&](Activation activation, const std::vector<float>& expected) {
    std::vector<float> values = inputs;
    activate(activation, values);
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], expected[i], 1e-6F) << name_of(activation);
  };
  check(Activation::kRelu, {0.0F, 0.0F, 0.0F, 0.25F, 2.0F});
  check(Activation::kGelu, {-0.00404969F, -0.15426877F, 0.0F, 0.14967658F, 1.95449972F});
  check(Activation::kGeluNew, {-0.00363752F, -0.15428595F, 0.0F, 0.14967553F, 1.95459771F});
  check(Activation::kSilu, {-0.14227763F, -0.18877034F, 0.0F, 0.14054464F, 1.76159418F});
}

TEST(VectorArithmeticTest, AddsScalesAndMultiplies) {
  std::vector<float> values = {1.0F, 2.0F, 3.0F};
  add(std::vector<float>{10.0F, 20.0F, 30.0F}, values);
  add_scaled(2.0F, std::vector<float>{1.0F, 1.0F, 1.0F}, values);
  scale(0.5F, values);
  multiply(std::vector<float>{1.0F, 0.0F, -1.0F}, values);
  EXPECT_EQ(values, (std::vector<float>{6.5F, 0.0F, -17.5F}));
}

}  // namespace
}  // namespace flame::kernels
