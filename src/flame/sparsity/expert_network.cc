#include "flame/sparsity/expert_network.h"

#include <algorithm>
#include <cassert>

#include "flame/kernels/linear.h"
#include "flame/kernels/vector_ops.h"

namespace flame::sparsity {

Matrix<float> gather_rows(MatrixView<const float> matrix, std::span<const std::size_t> rows) {
  Matrix<float> gathered(rows.size(), matrix.columns());
  for (std::size_t i = 0; i < rows.size(); ++i) std::ranges::copy(matrix.row(rows[i]), gathered.row(i).begin());
  return gathered;
}

Matrix<float> expert_hidden(const kernels::WeightMatrix& wi, const kernels::WeightMatrix& gate,
                            model::Activation activation, MatrixView<const float> inputs) {
  Matrix<float> hidden(inputs.rows(), wi.rows);
  kernels::linear(wi, inputs, hidden);
  const std::span<float> values(hidden.data(), hidden.rows() * hidden.columns());
  kernels::activate(activation, values);
  if (gate.data != nullptr) {
    Matrix<float> gates(inputs.rows(), gate.rows);
    kernels::linear(gate, inputs, gates);
    kernels::multiply({gates.data(), values.size()}, values);
  }
  return hidden;
}

Matrix<float> run_expert(const model::FeedForwardWeights& expert, model::Activation activation,
                         MatrixView<const float> inputs) {
  const Matrix<float> hidden = expert_hidden(expert.wi, expert.gate, activation, inputs);
  Matrix<float> output(inputs.rows(), expert.wo.rows);
  kernels::linear(expert.wo, hidden, output);
  return output;
}

kernels::WeightMatrix as_weight(MatrixView<const float> matrix) {
  assert(matrix.stride() == matrix.columns());
  return {DataType::kF32, reinterpret_cast<const std::byte*>(matrix.data()), matrix.rows(), matrix.columns()};
}

}  // namespace flame::sparsity
