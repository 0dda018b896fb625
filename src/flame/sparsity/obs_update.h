#pragma once

#include <cstddef>

#include "flame/base/matrix_view.h"
#include "flame/sparsity/pattern.h"

namespace flame::sparsity {

// SparseGPT (Frantar and Alistarh, 2023): one-shot pruning that makes up for what is removed, by the optimal brain
// surgeon (OBS) update on the quadratic model of the layer's output error, W H Wᵀ with H = Xᵀ X of calibration inputs.

/// gram[i][j] = sum over t of inputs[t][i] * inputs[t][j]: the Hessian H of a linear layer with these inputs [tokens,
/// width], up to a factor that changes nothing.
[[nodiscard]] Matrix<float> gram_matrix(MatrixView<const float> inputs);

/// Replaces a symmetric positive semi-definite H (only its upper triangle is read) by the upper triangular U with
/// Uᵀ U = (H + d I)⁻¹, d = damping * mean of H's diagonal; below the diagonal stand zeros. U[j][j]² is then the
/// inverse's entry for weight j once the weights before it are fixed. Where rounding leaves the matrix indefinite the
/// damping is doubled until it is not; the damping used is returned. A zero matrix gives the identity. Throws
/// ModelError for a matrix that is not finite.
double factor_inverse(Matrix<float>& hessian, double damping);

/// How the columns are worked through; the result depends on it only by rounding.
inline constexpr std::size_t kObsBlockColumns = 128;

/// Prunes W [outputs, inputs] to N:M in place, left to right. At the first column of every group of M each row chooses
/// the N weights of largest w² / U[j][j]² (of equal ones the lower index); the error of each removed weight is spread
/// over the columns to its right so that the outputs change least. `inverse_factor` is factor_inverse()'s result.
void prune_with_update(Pattern pattern, const Matrix<float>& inverse_factor, MatrixView<float> weights);

}  // namespace flame::sparsity
