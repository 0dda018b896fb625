#pragma once

#include <cstddef>
#include <span>

#include "flame/base/data_type.h"
#include "flame/base/matrix_view.h"

namespace flame::kernels {

/// A dense weight matrix that somebody else owns, in the checkpoint's layout: [rows = outputs, columns = inputs],
/// row-major without padding. Promises nothing about alignment.
struct WeightMatrix {
  DataType type = DataType::kF32;  ///< kF32, kBF16 or kF16
  const std::byte* data = nullptr;
  std::size_t rows = 0;
  std::size_t columns = 0;

  [[nodiscard]] std::size_t size_bytes() const { return rows * columns * size_of(type); }
  [[nodiscard]] WeightMatrix rows_from(std::size_t first, std::size_t count) const {
    return {type, data + first * columns * size_of(type), count, columns};
  }
};

/// Tokens up to which linear() takes the matrix-vector kernel.
inline constexpr std::size_t kMaxGemvTokens = 16;

/// output[t][r] = sum over c of weight[r][c] * input[t][c], the torch.nn.Linear without bias.
/// Shapes: input [tokens, columns], output [tokens, rows]. Sums in fp32; bf16 and f16 weights are widened exactly.
/// Up to kMaxGemvTokens tokens go through the matrix-vector kernel, more through oneDNN in row tiles widened to f32.
///
/// In the matrix-vector kernel a token's result depends bit for bit on nothing but its input, the weight's row and the
/// instruction set: neither on the number of threads, nor on the tokens beside it, nor on rows_from() of the weight.
/// Memory beside the arguments: none up to kMaxGemvTokens tokens, at most kLinearScratchBytes a thread above.
void linear(const WeightMatrix& weight, MatrixView<const float> input, MatrixView<float> output);

/// Bound of the row tile that linear() widens at a time.
inline constexpr std::size_t kLinearScratchBytes = std::size_t{1} << 20;

/// The same by the definition, one product at a time in double precision: what tests compare with.
void linear_reference(const WeightMatrix& weight, MatrixView<const float> input, MatrixView<float> output);

/// Element [row][column] widened to float.
[[nodiscard]] float weight_at(const WeightMatrix& weight, std::size_t row, std::size_t column);

/// Row `row` widened to float (embedding look-up). `output` has weight.columns elements.
void widen_row(const WeightMatrix& weight, std::size_t row, std::span<float> output);

}  // namespace flame::kernels
