#include "flame/kernels/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernel_test.h"

namespace flame::kernels {
namespace {

// By the definition, in double precision.
Matrix<float> reference(const AttentionInput& input) {
  const std::size_t size = input.head_size;
  const auto at = [](const KeyValueView& view, std::size_t position, std::size_t column) {
    return static_cast<double>(weight_at({view.type, view.data, view.length, view.stride}, position, column));
  };
  Matrix<float> output(input.query.rows(), input.heads * size);
  for (std::size_t h = 0; h < input.heads; ++h) {
    for (std::size_t q = 0; q < input.query.rows(); ++q) {
      const std::size_t visible = input.causal_keys > input.keys.length
                                      ? input.keys.length
                                      : std::min(input.keys.length, input.causal_keys + q);
      std::vector<double> weights(visible);
      double largest = -std::numeric_limits<double>::infinity();
      for (std::size_t k = 0; k < visible; ++k) {
        for (std::size_t c = 0; c < size; ++c) {
          weights[k] += static_cast<double>(input.query.row(q)[h * size + c]) * at(input.keys, k, h * size + c);
        }
        if (input.bias.data != nullptr) {
          weights[k] += static_cast<double>(input.bias.data[static_cast<std::ptrdiff_t>(h) * input.bias.head_stride +
                                                            static_cast<std::ptrdiff_t>(q) * input.bias.query_stride +
                                                            static_cast<std::ptrdiff_t>(k)]);
        }
        largest = std::max(largest, weights[k]);
      }
      double sum = 0.0;
      for (double& weight : weights) sum += weight = std::exp(weight - largest);
      for (std::size_t c = 0; c < size; ++c) {
        double value = 0.0;
        for (std::size_t k = 0; k < visible; ++k) value += weights[k] / sum * at(input.values, k, h * size + c);
        output.row(q)[h * size + c] = static_cast<float>(value);
      }
    }
  }
  return output;
}

class AttentionTest : public KernelTest {
 protected:
  static KeyValueView cached(const StoredMatrix& matrix) {
    return {matrix.view().type, matrix.view().data, matrix.view().rows, matrix.view().columns};
  }
};

TEST_P(AttentionTest, EqualsTheDefinition) {
  std::size_t cases = 0;
  for (const DataType type : {DataType::kF32, DataType::kBF16}) {
    for (const std::size_t head_size : {5UL, 16UL, 64UL, 72UL}) {
      for (const std::size_t length : {1UL, 3UL, 4UL, 9UL, 70UL}) {
        for (const std::size_t queries : {1UL, 2UL, 7UL, 8UL, 70UL}) {
          constexpr std::size_t kHeads = 3;
          const Matrix<float> query = random_matrix(queries, kHeads * head_size, 1);
          const StoredMatrix keys(type, random_matrix(length, kHeads * head_size, 2));
          const StoredMatrix values(type, random_matrix(length, kHeads * head_size, 3));
          const Matrix<float> bias = random_matrix(kHeads, queries + length, 4);
          for (const bool causal : {false, true}) {
            AttentionInput input{kHeads, head_size, query, cached(keys), cached(values), {}};
            if (causal) {
              input.causal_keys = 1;
              input.bias = {bias.data() + queries, static_cast<std::ptrdiff_t>(queries + length), -1};
            }
            Matrix<float> output(queries, kHeads * head_size, std::numeric_limits<float>::quiet_NaN());
            attend(input, output);
            expect_near(output, reference(input), 2e-5F,
                        std::to_string(queries) + " queries, " + std::to_string(length) + " keys of " +
                            std::to_string(head_size));
            ++cases;
          }
        }
      }
    }
  }
  EXPECT_EQ(cases, 2U * 4U * 5U * 5U * 2U);
}

TEST_P(AttentionTest, PositionsPastTheLengthAreNotRead) {
  constexpr std::size_t kSize = 32;
  Matrix<float> keys = random_matrix(20, kSize, 5);
  Matrix<float> values = random_matrix(20, kSize, 6);
  const Matrix<float> query = random_matrix(1, kSize, 7);
  const auto attend_to = [&](std::size_t length) {
    const auto view = [length](const Matrix<float>& matrix) {
      return KeyValueView{DataType::kF32, reinterpret_cast<const std::byte*>(matrix.data()), length, kSize};
    };
    Matrix<float> output(1, kSize);
    attend({2, kSize / 2, query, view(keys), view(values), {}}, output);
    return output;
  };
  const Matrix<float> before = attend_to(13);
  for (std::size_t k = 13; k < 20; ++k) {
    std::ranges::fill(keys.row(k), std::numeric_limits<float>::quiet_NaN());
    std::ranges::fill(values.row(k), std::numeric_limits<float>::quiet_NaN());
  }
  const Matrix<float> after = attend_to(13);
  for (std::size_t c = 0; c < kSize; ++c) EXPECT_EQ(after.row(0)[c], before.row(0)[c]);
}

TEST_P(AttentionTest, HeadsMayLieApart) {
  constexpr std::size_t kHeads = 3;
  constexpr std::size_t kSize = 20;
  constexpr std::size_t kLength = 9;
  // The same keys and values, heads side by side in a position and head after head.
  const Matrix<float> side_by_side = random_matrix(kLength, kHeads * kSize, 8);
  Matrix<float> apart(kHeads, kLength * kSize);
  for (std::size_t k = 0; k < kLength; ++k) {
    for (std::size_t h = 0; h < kHeads; ++h) {
      std::ranges::copy(side_by_side.row(k).subspan(h * kSize, kSize), apart.row(h).subspan(k * kSize).begin());
    }
  }
  for (const DataType type : {DataType::kF32, DataType::kBF16}) {
    const StoredMatrix stored(type, side_by_side);
    const StoredMatrix stored_apart(type, apart);
    const KeyValueView view_apart{type, stored_apart.view().data, kLength, kSize, kLength * kSize};
    for (const std::size_t queries : {1UL, 10UL}) {
      const Matrix<float> query = random_matrix(queries, kHeads * kSize, 9);
      Matrix<float> expected(queries, kHeads * kSize);
      attend({kHeads, kSize, query, cached(stored), cached(stored), {}}, expected);
      Matrix<float> output(queries, kHeads * kSize);
      attend({kHeads, kSize, query, view_apart, view_apart, {}}, output);
      for (std::size_t q = 0; q < queries; ++q) {
        for (std::size_t c = 0; c < kHeads * kSize; ++c) ASSERT_EQ(output.row(q)[c], expected.row(q)[c]);
      }
    }
  }
}

FLAME_TEST_ON_ALL_INSTRUCTION_SETS(AttentionTest);

}  // namespace
}  // namespace flame::kernels
