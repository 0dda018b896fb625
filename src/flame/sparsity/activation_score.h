#pragma once

#include <span>
#include <vector>

#include "flame/base/matrix_view.h"

namespace flame::sparsity {

/// L2 norm of each column of `inputs` [tokens, width], summed in double precision.
[[nodiscard]] std::vector<float> column_norms(MatrixView<const float> inputs);

/// Wanda (Sun et al., 2024): score[r][c] = |weights[r][c]| * input_norms[c].
[[nodiscard]] Matrix<float> activation_scores(MatrixView<const float> weights, std::span<const float> input_norms);

}  // namespace flame::sparsity
