#pragma once

#include <cstddef>
#include <span>

#include "flame/base/matrix_view.h"
#include "flame/kernels/weight_matrix.h"

namespace flame::kernels {

/// Tokens up to which linear() takes the matrix-vector kernel.
inline constexpr std::size_t kMaxGemvTokens = 16;

/// output[t][r] = sum over c of weight[r][c] * input[t][c]: torch.nn.Linear without bias.
/// Shapes: input [tokens, columns], output [tokens, rows]. Sums in fp32; bf16 and f16 weights are widened exactly.
/// Up to kMaxGemvTokens tokens go through the matrix-vector kernel, more through gemm().
///
/// In the matrix-vector kernel a token's result depends bit for bit on nothing but its input, the weight's row and the
/// instruction set: neither on the number of threads, nor on the tokens beside it, nor on rows_from() of the weight.
/// Memory beside the arguments: none up to kMaxGemvTokens tokens, kGemmScratchBytes a thread above, kept between calls.
void linear(const WeightMatrix& weight, MatrixView<const float> input, MatrixView<float> output);

/// One of several products of the same input.
struct LinearProduct {
  WeightMatrix weight;
  MatrixView<float> output;
};

/// linear() of each, to the bit. Up to kMaxGemvTokens tokens are multiplied in one call of the thread pool: threads
/// wait for one another once, not after each.
void linear(std::span<const LinearProduct> products, MatrixView<const float> input);

/// The same by the definition, one product at a time in double precision: what tests compare with.
void linear_reference(const WeightMatrix& weight, MatrixView<const float> input, MatrixView<float> output);

}  // namespace flame::kernels
