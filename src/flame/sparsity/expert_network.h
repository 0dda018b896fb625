#pragma once

#include <cstddef>
#include <span>

#include "flame/base/matrix_view.h"
#include "flame/model/config.h"
#include "flame/model/weights.h"

namespace flame::sparsity {

/// The given rows of a matrix, one after another.
[[nodiscard]] Matrix<float> gather_rows(MatrixView<const float> matrix, std::span<const std::size_t> rows);

/// What an expert's output matrix wo is multiplied with: activation(wi · x), times gate · x in a gated expert.
/// `inputs` is [tokens, d_model], the result [tokens, d_ff].
[[nodiscard]] Matrix<float> expert_hidden(const kernels::WeightMatrix& wi, const kernels::WeightMatrix& gate,
                                          model::Activation activation, MatrixView<const float> inputs);

/// The expert's output before the router's probability: [tokens, d_model].
[[nodiscard]] Matrix<float> run_expert(const model::FeedForwardWeights& expert, model::Activation activation,
                                       MatrixView<const float> inputs);

/// A matrix of floats as a weight of kernels::linear; the elements stay where they are.
[[nodiscard]] kernels::WeightMatrix as_weight(MatrixView<const float> matrix);

}  // namespace flame::sparsity
