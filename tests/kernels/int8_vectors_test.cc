#include "flame/kernels/int8_vectors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include "kernel_test.h"

namespace flame::kernels {
namespace {

constexpr std::size_t kSizes[] = {1, 2, 7, 8, 15, 16, 17, 33, 64, 1000};

class Int8VectorsTest : public KernelTest {
 protected:
  std::mt19937 random_{7};
};

TEST_P(Int8VectorsTest, QuantisesAsTheDefinition) {
  std::size_t cases = 0;
  for (const std::size_t size : kSizes) {
    for (const float magnitude : {1e-42F, 1e-30F, 1.0F, 127.0F, 1e30F}) {
      Matrix<float> values = random_matrix(1, size, 1);
      for (float& value : values.row(0)) value *= magnitude;
      if (size > 2) values.row(0)[1] = magnitude * 0.5F / 127.0F;  // a tie when the largest is 1
      std::vector<std::int8_t> codes(size);
      std::vector<std::int8_t> expected(size);
      EXPECT_EQ(quantise_symmetric_fast(values.row(0), codes), quantise_symmetric(values.row(0), expected));
      EXPECT_EQ(codes, expected);
      ++cases;
    }
  }
  EXPECT_EQ(cases, 50U);
  std::vector<std::int8_t> codes(3, 5);
  EXPECT_EQ(quantise_symmetric_fast(std::vector<float>(3, 0.0F), codes), 0.0F);
  EXPECT_EQ(codes, std::vector<std::int8_t>(3, 0));
}

TEST_P(Int8VectorsTest, MultipliersAreThoseOfTheDefinition) {
  for (const std::size_t size : kSizes) {
    std::vector<float> scales(size);
    std::uniform_real_distribution<float> uniform(0.0F, 0.02F);
    for (float& scale : scales) scale = uniform(random_);
    std::vector<std::uint16_t> multipliers(size);
    const InputRowScaling expected = input_row_scaling(scales);
    EXPECT_EQ(row_multipliers(scales, multipliers), expected.unit);
    EXPECT_EQ(multipliers, expected.multiplier);
  }
  std::vector<std::uint16_t> multipliers(20, 9);
  EXPECT_EQ(row_multipliers(std::vector<float>(20, 0.0F), multipliers), 0.0F);
  EXPECT_EQ(multipliers, std::vector<std::uint16_t>(20, 0));
}

TEST_P(Int8VectorsTest, HiddenValuesAndTheirCodesAreThoseOfTheDefinition) {
  for (const std::size_t size : kSizes) {
    for (const int shift : {0, 8, 16, 24, 31}) {
      std::vector<std::int32_t> sums(size);
      std::vector<std::uint16_t> multipliers(size);
      for (std::size_t r = 0; r < size; ++r) {
        sums[r] = static_cast<std::int32_t>(random_()) >> shift;
        multipliers[r] = static_cast<std::uint16_t>(random_() % (kUnitMultiplier + 1));
      }
      sums[0] = std::numeric_limits<std::int32_t>::max() >> shift;
      multipliers[0] = kUnitMultiplier;
      std::vector<std::uint32_t> hidden(size);
      const std::uint32_t largest = hidden_values(sums, multipliers, hidden);
      std::uint32_t expected_largest = 0;
      for (std::size_t r = 0; r < size; ++r) {
        ASSERT_EQ(hidden[r], hidden_value(sums[r], multipliers[r]));
        expected_largest = std::max(expected_largest, hidden[r]);
      }
      ASSERT_EQ(largest, expected_largest);
      std::vector<std::int8_t> codes(size);
      requantise_all(hidden, hidden_scale(largest), codes);
      for (std::size_t r = 0; r < size; ++r) ASSERT_EQ(codes[r], requantise(hidden[r], hidden_scale(largest)));
    }
  }
}

FLAME_TEST_ON_ALL_INSTRUCTION_SETS(Int8VectorsTest);

}  // namespace
}  // namespace flame::kernels
