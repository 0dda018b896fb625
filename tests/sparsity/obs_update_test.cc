#include "flame/sparsity/obs_update.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "flame/base/error.h"
#include "flame/base/random.h"
#include "flame/sparsity/activation_score.h"
#include "flame/sparsity/group_select.h"
#include "support/test_data.h"

namespace flame::sparsity {
namespace {

Matrix<float> matrix_of(const nlohmann::json& rows) {
  Matrix<float> matrix(rows.size(), rows[0].size());
  for (std::size_t r = 0; r < matrix.rows(); ++r) {
    for (std::size_t c = 0; c < matrix.columns(); ++c) matrix.row(r)[c] = rows[r][c].get<float>();
  }
  return matrix;
}

Matrix<float> random_matrix(std::size_t rows, std::size_t columns, std::uint64_t seed) {
  Random random(seed);
  Matrix<float> matrix(rows, columns);
  for (std::size_t r = 0; r < rows; ++r) {
    for (float& value : matrix.row(r)) value = static_cast<float>(random.next_normal());
  }
  return matrix;
}

/// Inputs whose columns depend on each other, as those of real layers do.
Matrix<float> random_inputs(std::size_t tokens, std::size_t width, std::uint64_t seed) {
  Matrix<float> inputs = random_matrix(tokens, width, seed);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t c = 1; c < width; ++c) inputs.row(t)[c] += 0.7F * inputs.row(t)[c - 1];
  }
  return inputs;
}

double output_error(const Matrix<float>& weights, const Matrix<float>& pruned, const Matrix<float>& inputs) {
  double error = 0.0;
  for (std::size_t t = 0; t < inputs.rows(); ++t) {
    for (std::size_t r = 0; r < weights.rows(); ++r) {
      double difference = 0.0;
      for (std::size_t c = 0; c < weights.columns(); ++c) {
        difference += static_cast<double>(inputs.row(t)[c]) * (weights.row(r)[c] - pruned.row(r)[c]);
      }
      error += difference * difference;
    }
  }
  return error;
}

Matrix<float> pruned_by_update(Pattern pattern, const Matrix<float>& weights, const Matrix<float>& inputs,
                               double damping = 0.01) {
  Matrix<float> factor = gram_matrix(inputs);
  factor_inverse(factor, damping);
  Matrix<float> pruned = weights;
  prune_with_update(pattern, factor, pruned);
  return pruned;
}

TEST(ObsUpdate, EqualsTheDefinitionInNumpy) {
  const nlohmann::json cases = nlohmann::json::parse(std::ifstream(test::data_path("sparsity/calibrated.json")));
  ASSERT_FALSE(cases.empty());
  for (const nlohmann::json& one : cases) {
    const Pattern pattern{one["n"].get<std::uint8_t>(), one["m"].get<std::uint8_t>()};
    const Matrix<float> expected = matrix_of(one["sparsegpt"]);
    const Matrix<float> pruned =
        pruned_by_update(pattern, matrix_of(one["weights"]), matrix_of(one["inputs"]), one["damping"].get<double>());
    for (std::size_t r = 0; r < expected.rows(); ++r) {
      for (std::size_t c = 0; c < expected.columns(); ++c) {
        EXPECT_NEAR(pruned.row(r)[c], expected.row(r)[c], 2e-4) << pattern.to_string() << " at " << r << ", " << c;
      }
    }
  }
}

TEST(ActivationScore, EqualsTheDefinitionInNumpy) {
  const nlohmann::json cases = nlohmann::json::parse(std::ifstream(test::data_path("sparsity/calibrated.json")));
  for (const nlohmann::json& one : cases) {
    const Matrix<float> expected = matrix_of(one["wanda"]);
    Matrix<float> pruned = matrix_of(one["weights"]);
    const Matrix<float> scores = activation_scores(pruned, column_norms(matrix_of(one["inputs"])));
    keep_largest(Pattern{one["n"].get<std::uint8_t>(), one["m"].get<std::uint8_t>()}, scores, pruned);
    for (std::size_t r = 0; r < expected.rows(); ++r) {
      for (std::size_t c = 0; c < expected.columns(); ++c) EXPECT_EQ(pruned.row(r)[c], expected.row(r)[c]);
    }
  }
}

TEST(ObsUpdate, TheFactorIsThatOfTheDampedInverse) {
  for (const std::size_t width : {1, 7, 64, 65, 130, 200}) {  // blocks of 64 and their edges
    const Matrix<float> hessian = gram_matrix(random_inputs(2 * width, width, width));
    Matrix<float> factor = hessian;
    EXPECT_EQ(factor_inverse(factor, 0.01), 0.01);
    double mean = 0.0;
    for (std::size_t i = 0; i < width; ++i) mean += hessian.row(i)[i] / static_cast<double>(width);
    // (Uᵀ U)(H + d I) = I
    double worst = 0.0;
    for (std::size_t i = 0; i < width; ++i) {
      std::vector<double> inverse_row(width, 0.0);
      for (std::size_t k = 0; k <= i; ++k) {
        for (std::size_t j = 0; j < width; ++j) {
          inverse_row[j] += static_cast<double>(factor.row(k)[i]) * factor.row(k)[j];
        }
      }
      for (std::size_t j = 0; j < width; ++j) {
        double product = inverse_row[j] * 0.01 * mean;
        for (std::size_t k = 0; k < width; ++k) product += inverse_row[k] * hessian.row(k)[j];
        worst = std::max(worst, std::fabs(product - (i == j ? 1.0 : 0.0)));
      }
      for (std::size_t j = 0; j < i; ++j) EXPECT_EQ(factor.row(i)[j], 0.0F);
    }
    EXPECT_LT(worst, 5e-3) << width;
  }
}

RC_GTEST_PROP(ObsUpdate, MakesNOfM, ()) {
  const int m = *rc::gen::inRange(2, 17);
  const Pattern pattern{static_cast<std::uint8_t>(*rc::gen::inRange(1, m)), static_cast<std::uint8_t>(m)};
  const auto columns = static_cast<std::size_t>(*rc::gen::inRange(1, 300));
  const auto seed = static_cast<std::uint64_t>(*rc::gen::inRange(0, 1000));
  const Matrix<float> pruned =
      pruned_by_update(pattern, random_matrix(3, columns, seed), random_inputs(20, columns, seed + 1));
  for (std::size_t r = 0; r < pruned.rows(); ++r) {
    for (std::size_t first = 0; first < columns; first += pattern.m) {
      std::size_t kept = 0;
      const std::size_t end = std::min<std::size_t>(columns, first + pattern.m);
      for (std::size_t c = first; c < end; ++c) kept += pruned.row(r)[c] != 0.0F ? 1 : 0;
      RC_ASSERT(kept == std::min<std::size_t>(pattern.n, end - first));
    }
  }
}

TEST(ObsUpdate, ChangesOutputsLessThanMagnitudeDoes) {
  for (const std::size_t width : {16, 160}) {
    for (const Pattern pattern : {Pattern{1, 4}, Pattern{2, 4}, Pattern{3, 4}, Pattern{4, 8}, Pattern{4, 16}}) {
      const Matrix<float> weights = random_matrix(20, width, 3);
      const Matrix<float> inputs = random_inputs(4 * width, width, 4);
      Matrix<float> by_magnitude = weights;
      keep_largest(pattern, weights, by_magnitude);
      EXPECT_LT(output_error(weights, pruned_by_update(pattern, weights, inputs), inputs),
                0.9 * output_error(weights, by_magnitude, inputs))
          << pattern.to_string() << " " << width;
    }
  }
}

TEST(ObsUpdate, OneRemovedWeightIsMadeUpForAsWellAsCanBe) {
  // The damped error (w - ŵ)(H + d I)(w - ŵ)ᵀ is least over the columns right of the removed one: its gradient is zero.
  const std::size_t width = 12;
  const Matrix<float> weights = random_matrix(6, width, 8);
  const Matrix<float> inputs = random_inputs(40, width, 9);
  const Matrix<float> hessian = gram_matrix(inputs);
  double mean = 0.0;
  for (std::size_t i = 0; i < width; ++i) mean += hessian.row(i)[i] / static_cast<double>(width);
  const Matrix<float> pruned = pruned_by_update(Pattern{11, 12}, weights, inputs);
  for (std::size_t r = 0; r < weights.rows(); ++r) {
    std::size_t removed = 0;
    while (pruned.row(r)[removed] != 0.0F) ++removed;
    for (std::size_t c = 0; c < removed; ++c) EXPECT_EQ(pruned.row(r)[c], weights.row(r)[c]);
    for (std::size_t c = removed + 1; c < width; ++c) {
      double gradient = 0.01 * mean * (pruned.row(r)[c] - weights.row(r)[c]);
      double scale = 0.0;
      for (std::size_t k = 0; k < width; ++k) {
        gradient += static_cast<double>(hessian.row(c)[k]) * (pruned.row(r)[k] - weights.row(r)[k]);
        scale += std::fabs(static_cast<double>(hessian.row(c)[k]) * (pruned.row(r)[k] - weights.row(r)[k]));
      }
      EXPECT_NEAR(gradient, 0.0, 1e-4 * scale);
    }
  }
}

TEST(ObsUpdate, WithoutInputsItIsMagnitude) {
  const Matrix<float> weights = random_matrix(4, 16, 5);
  Matrix<float> by_magnitude = weights;
  keep_largest(Pattern{2, 4}, weights, by_magnitude);
  const Matrix<float> pruned = pruned_by_update(Pattern{2, 4}, weights, Matrix<float>(3, 16, 0.0F));
  for (std::size_t r = 0; r < 4; ++r) {
    for (std::size_t c = 0; c < 16; ++c) EXPECT_EQ(pruned.row(r)[c], by_magnitude.row(r)[c]);
  }
}

TEST(ObsUpdate, RefusesInputsThatAreNotFinite) {
  Matrix<float> inputs(3, 4, 1.0F);
  inputs.row(1)[2] = std::numeric_limits<float>::infinity();
  Matrix<float> factor = gram_matrix(inputs);
  EXPECT_THROW(factor_inverse(factor, 0.01), ModelError);
}

}  // namespace
}  // namespace flame::sparsity
