#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "flame/base/data_type.h"
#include "flame/base/matrix_view.h"
#include "flame/base/thread_pool.h"
#include "flame/kernels/target.h"
#include "flame/kernels/weight_matrix.h"
#include "guarded_bytes.h"

namespace flame::kernels {

/// A test that is run once on every instruction set of this processor.
class KernelTest : public testing::TestWithParam<std::string_view> {
 protected:
  void SetUp() override { ASSERT_TRUE(force_instruction_set(GetParam())); }
  void TearDown() override {
    force_instruction_set("");
    ThreadPool::set_threads(0);
  }
};

#define FLAME_TEST_ON_ALL_INSTRUCTION_SETS(Suite)                                                        \
  INSTANTIATE_TEST_SUITE_P(On, Suite, testing::ValuesIn(::flame::kernels::available_instruction_sets()), \
                           [](const auto& test) { return std::string(test.param); })

/// Values between -1 and 1.
inline Matrix<float> random_matrix(std::size_t rows, std::size_t columns, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
  Matrix<float> matrix(rows, columns);
  for (std::size_t r = 0; r < rows; ++r) {
    for (float& value : matrix.row(r)) value = uniform(random);
  }
  return matrix;
}

/// `values` stored as `type` before an inaccessible page, aligned for the type but not for vectors.
class StoredMatrix {
 public:
  StoredMatrix(DataType type, const Matrix<float>& values)
      : storage_(values.rows() * values.columns() * size_of(type)),
        view_{type, storage_.data(), values.rows(), values.columns()} {
    for (std::size_t i = 0; i < values.rows() * values.columns(); ++i) {
      std::byte* position = storage_.data() + i * size_of(type);
      const float value = values.data()[i];
      if (type == DataType::kF32) std::memcpy(position, &value, sizeof(value));
      if (type == DataType::kBF16) store(position, BFloat16::from_float(value));
      if (type == DataType::kF16) store(position, Float16::from_float(value));
    }
  }
  StoredMatrix(const StoredMatrix&) = delete;
  StoredMatrix& operator=(const StoredMatrix&) = delete;

  [[nodiscard]] const WeightMatrix& view() const { return view_; }

 private:
  template <typename Element>
  static void store(std::byte* position, Element element) {
    std::memcpy(position, &element, sizeof(element));
  }

  GuardedBytes storage_;
  WeightMatrix view_;
};

/// How far an fp32 sum of `length` products, each at most 1, may be from the exact one: the roundings behave like a
/// random walk, so the square root of the length counts; the factor covers the worst cell of a large matrix.
inline float sum_tolerance(std::size_t length) {
  return 4.0F * 0x1p-24F * (std::sqrt(static_cast<float>(length)) + 1.0F) *
         (1.0F + std::sqrt(static_cast<float>(length)) / 4.0F);
}

/// Compares all elements and names the worst one.
inline void expect_near(MatrixView<const float> actual, MatrixView<const float> expected, float tolerance,
                        const std::string& what) {
  ASSERT_EQ(actual.rows(), expected.rows());
  ASSERT_EQ(actual.columns(), expected.columns());
  ASSERT_FALSE(actual.empty()) << what;
  float worst = -1.0F;
  std::size_t worst_row = 0;
  std::size_t worst_column = 0;
  for (std::size_t r = 0; r < actual.rows(); ++r) {
    for (std::size_t c = 0; c < actual.columns(); ++c) {
      const float difference = std::fabs(actual.row(r)[c] - expected.row(r)[c]);
      if (!(difference <= worst)) {  // NaN counts as worst
        worst = difference;
        worst_row = r;
        worst_column = c;
        if (std::isnan(difference)) break;
      }
    }
  }
  EXPECT_LE(worst, tolerance) << what << ": worst at [" << worst_row << "][" << worst_column << "], "
                              << actual.row(worst_row)[worst_column] << " for "
                              << expected.row(worst_row)[worst_column];
}

}  // namespace flame::kernels
