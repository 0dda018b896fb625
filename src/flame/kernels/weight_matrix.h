#pragma once

#include <cstddef>
#include <span>

#include "flame/base/data_type.h"

namespace flame::kernels {

/// A dense weight matrix that somebody else owns, in the checkpoint's layout: [rows = outputs, columns = inputs],
/// row-major without padding. Promises nothing about alignment.
struct WeightMatrix {
  DataType type = DataType::kF32;  ///< kF32, kBF16 or kF16
  const std::byte* data = nullptr;
  std::size_t rows = 0;
  std::size_t columns = 0;
  /// Of a kBF16 matrix: a product with many tokens may round their inputs to bf16 too (gemm.h).
  bool bf16_inputs = false;
  /// Read once and not again before the caches have seen more than they hold: kernels read it past them.
  bool streamed = false;

  [[nodiscard]] std::size_t row_bytes() const { return columns * size_of(type); }
  [[nodiscard]] std::size_t size_bytes() const { return rows * row_bytes(); }
  [[nodiscard]] WeightMatrix rows_from(std::size_t first, std::size_t count) const {
    return {type, data + first * row_bytes(), count, columns, bf16_inputs, streamed};
  }
};

/// Element [row][column] widened to float.
[[nodiscard]] float weight_at(const WeightMatrix& weight, std::size_t row, std::size_t column);

/// Row `row` widened to float, exactly for finite numbers (embedding look-up). `output` has weight.columns elements.
void widen_row(const WeightMatrix& weight, std::size_t row, std::span<float> output);

/// All elements widened to float, row-major. `output` has rows * columns elements.
void widen(const WeightMatrix& weight, std::span<float> output);

}  // namespace flame::kernels
