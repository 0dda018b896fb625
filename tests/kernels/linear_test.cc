#include "flame/kernels/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "kernel_test.h"

namespace flame::kernels {
namespace {

constexpr DataType kTypes[] = {DataType::kF32, DataType::kBF16, DataType::kF16};

class LinearTest : public KernelTest {
 protected:
  static Matrix<float> multiply(const WeightMatrix& weight, MatrixView<const float> input) {
    Matrix<float> output(input.rows(), weight.rows, std::numeric_limits<float>::quiet_NaN());
    linear(weight, input, output);
    return output;
  }
};

TEST_P(LinearTest, EqualsTheDefinitionForAllShapesAroundTheVectorWidth) {
  std::size_t cases = 0;
  for (const DataType type : kTypes) {
    for (const std::size_t columns :
         {1UL, 3UL, 4UL, 7UL, 8UL, 15UL, 16UL, 17UL, 31UL, 33UL, 63UL, 64UL, 100UL, 257UL}) {
      for (const std::size_t rows : {1UL, 2UL, 7UL, 8UL, 9UL, 17UL, 40UL}) {
        const StoredMatrix weight(type, random_matrix(rows, columns, 1));
        for (const std::size_t tokens : {1UL, 2UL, 3UL, 4UL, 5UL, 16UL, 17UL, 40UL}) {
          const Matrix<float> input = random_matrix(tokens, columns, 2);
          Matrix<float> expected(tokens, rows);
          linear_reference(weight.view(), input, expected);
          expect_near(multiply(weight.view(), input), expected, sum_tolerance(columns),
                      std::string(name_of(type)) + " " + std::to_string(rows) + "x" + std::to_string(columns) + ", " +
                          std::to_string(tokens) + " tokens");
          ++cases;
        }
      }
    }
  }
  EXPECT_EQ(cases, 3U * 14U * 7U * 8U);
}

TEST_P(LinearTest, ATokenDoesNotDependOnItsNeighbours) {
  for (const DataType type : kTypes) {
    const StoredMatrix weight(type, random_matrix(37, 133, 3));
    const Matrix<float> input = random_matrix(kMaxGemvTokens, 133, 4);
    const Matrix<float> together = multiply(weight.view(), input);
    for (std::size_t tokens = 1; tokens < kMaxGemvTokens; ++tokens) {
      const Matrix<float> fewer = multiply(weight.view(), input.view().rows_from(0, tokens));
      for (std::size_t t = 0; t < tokens; ++t) {
        for (std::size_t r = 0; r < 37; ++r) ASSERT_EQ(fewer.row(t)[r], together.row(t)[r]) << tokens << " tokens";
      }
    }
  }
}

TEST_P(LinearTest, TheResultDoesNotDependOnThreadsOrOnHowRowsAreCut) {
  for (const DataType type : kTypes) {
    const StoredMatrix weight(type, random_matrix(300, 517, 5));
    const Matrix<float> input = random_matrix(3, 517, 6);
    ThreadPool::set_threads(1);
    const Matrix<float> serial = multiply(weight.view(), input);
    ThreadPool::set_threads(4);
    const Matrix<float> parallel = multiply(weight.view(), input);
    Matrix<float> in_parts(3, 300);
    for (std::size_t first = 0; first < 300; first += 7) {
      const std::size_t count = std::min<std::size_t>(7, 300 - first);
      linear(weight.view().rows_from(first, count), input, in_parts.view().columns_from(first, count));
    }
    for (std::size_t t = 0; t < 3; ++t) {
      for (std::size_t r = 0; r < 300; ++r) {
        ASSERT_EQ(parallel.row(t)[r], serial.row(t)[r]);
        ASSERT_EQ(in_parts.row(t)[r], serial.row(t)[r]);
      }
    }
  }
}

TEST_P(LinearTest, SeveralProductsOfOneInputEqualEachByItself) {
  ThreadPool::set_threads(3);
  for (const DataType type : kTypes) {
    for (const std::size_t tokens : {0UL, 1UL, 3UL, 16UL, 17UL}) {
      const StoredMatrix first(type, random_matrix(300, 517, 5));
      const StoredMatrix second(type, random_matrix(1, 517, 6));
      const StoredMatrix third(DataType::kF32, random_matrix(157, 517, 7));
      const Matrix<float> input = random_matrix(tokens, 517, 8);
      std::vector<Matrix<float>> outputs;
      std::vector<LinearProduct> products;
      for (const StoredMatrix* weight : {&first, &second, &third}) {
        outputs.emplace_back(tokens, weight->view().rows, std::numeric_limits<float>::quiet_NaN());
        products.push_back({weight->view(), outputs.back()});
      }
      linear(products, input);
      for (std::size_t i = 0; i < products.size(); ++i) {
        const Matrix<float> expected = multiply(products[i].weight, input);
        for (std::size_t t = 0; t < tokens; ++t) {
          EXPECT_TRUE(std::ranges::equal(outputs[i].row(t), expected.row(t))) << "product " << i;
        }
      }
    }
  }
  linear(std::span<const LinearProduct>(), random_matrix(1, 5, 9));
}

TEST_P(LinearTest, ReadsAndWritesOnlyTheViewsItIsGiven) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::size_t tokens : {5UL, 20UL}) {
    const StoredMatrix weight(DataType::kF32, random_matrix(19, 37, 7));
    Matrix<float> padded_input(tokens, 41, nan);
    const Matrix<float> input = random_matrix(tokens, 37, 8);
    for (std::size_t t = 0; t < tokens; ++t) std::copy_n(input.row(t).begin(), 37, padded_input.row(t).begin());
    Matrix<float> padded_output(tokens, 25, nan);
    linear(weight.view(), padded_input.view().columns_from(0, 37), padded_output.view().columns_from(0, 19));
    Matrix<float> expected(tokens, 19);
    linear_reference(weight.view(), input, expected);
    expect_near(padded_output.view().columns_from(0, 19), expected, sum_tolerance(37), "padded");
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t c = 19; c < 25; ++c) EXPECT_TRUE(std::isnan(padded_output.row(t)[c]));
    }
  }
}

TEST_P(LinearTest, ReadingPastTheCachesChangesNoBit) {
  for (const DataType type : kTypes) {
    // Short rows and long ones are prefetched differently.
    for (const std::size_t columns : {100UL, 2100UL}) {
      const StoredMatrix stored(type, random_matrix(21, columns, 10));
      WeightMatrix weight = stored.view();
      for (const std::size_t tokens : {1UL, 3UL}) {
        const Matrix<float> input = random_matrix(tokens, columns, 11);
        const Matrix<float> expected = multiply(weight, input);
        weight.streamed = true;
        const Matrix<float> output = multiply(weight, input);
        weight.streamed = false;
        for (std::size_t t = 0; t < tokens; ++t) ASSERT_TRUE(std::ranges::equal(output.row(t), expected.row(t)));
      }
    }
  }
}

TEST_P(LinearTest, NoTokensAndNoRowsAreNoWork) {
  const StoredMatrix weight(DataType::kF32, random_matrix(4, 4, 9));
  linear(weight.view(), MatrixView<const float>(nullptr, 0, 4), MatrixView<float>(nullptr, 0, 4));
}

FLAME_TEST_ON_ALL_INSTRUCTION_SETS(LinearTest);

TEST(WeightMatrixTest, WidensExactly) {
  // Every bf16 and f16 pattern that is a finite number: weights that are not are refused when a model is loaded.
  for (const DataType type : {DataType::kBF16, DataType::kF16}) {
    std::vector<std::uint16_t> bits(1 << 16);
    for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<std::uint16_t>(i);
    const WeightMatrix matrix{type, reinterpret_cast<const std::byte*>(bits.data()), 1, bits.size()};
    for (const std::string_view name : available_instruction_sets()) {
      force_instruction_set(name);
      std::vector<float> widened(bits.size());
      widen_row(matrix, 0, widened);
      std::size_t compared = 0;
      for (std::size_t i = 0; i < bits.size(); ++i) {
        const float expected = weight_at(matrix, 0, i);
        if (!std::isfinite(expected)) continue;
        ASSERT_EQ(std::bit_cast<std::uint32_t>(widened[i]), std::bit_cast<std::uint32_t>(expected)) << name << " " << i;
        ++compared;
      }
      EXPECT_GT(compared, 63000U);
    }
    force_instruction_set("");
  }
}

}  // namespace
}  // namespace flame::kernels
