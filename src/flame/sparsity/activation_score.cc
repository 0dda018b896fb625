#include "flame/sparsity/activation_score.h"

#include <cassert>
#include <cmath>

#include "flame/base/thread_pool.h"

namespace flame::sparsity {

std::vector<float> column_norms(MatrixView<const float> inputs) {
  std::vector<double> squares(inputs.columns(), 0.0);
  for (std::size_t t = 0; t < inputs.rows(); ++t) {
    const std::span<const float> row = inputs.row(t);
    for (std::size_t c = 0; c < row.size(); ++c) squares[c] += static_cast<double>(row[c]) * row[c];
  }
  std::vector<float> norms;
  norms.reserve(squares.size());
  for (const double square : squares) norms.push_back(static_cast<float>(std::sqrt(square)));
  return norms;
}

Matrix<float> activation_scores(MatrixView<const float> weights, std::span<const float> input_norms) {
  assert(input_norms.size() == weights.columns());
  Matrix<float> scores(weights.rows(), weights.columns());
  ThreadPool::parallel_for(weights.rows(), 16, [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      const std::span<const float> row = weights.row(r);
      const std::span<float> score = scores.row(r);
      for (std::size_t c = 0; c < row.size(); ++c) score[c] = std::fabs(row[c]) * input_norms[c];
    }
  });
  return scores;
}

}  // namespace flame::sparsity
