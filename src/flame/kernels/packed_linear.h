#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/base/matrix_view.h"
#include "flame/kernels/packed_matrix.h"

namespace flame::kernels {

/// Tokens in the form that packed kernels read: copied once, then used for any number of row ranges.
/// f32 and bf16 formats read fp32 tokens. int8 and int4 formats read int8 tokens: each token is quantised symmetrically
/// by its own largest magnitude (scale = max|x| / 127, round half to even), so one token's result never depends on the
/// tokens beside it. Memory is kept between calls.
class PackedInput {
 public:
  /// `tokens` is [tokens, layout.columns()].
  void assign(const PackedLayout& layout, MatrixView<const float> tokens);
  /// For int8 and int4 formats: tokens that are integers already; token t stands for scales[t] * tokens[t].
  void assign(const PackedLayout& layout, MatrixView<const std::int8_t> tokens, std::span<const float> scales);

  [[nodiscard]] std::size_t tokens() const { return tokens_; }
  [[nodiscard]] std::size_t columns() const { return columns_; }
  [[nodiscard]] bool is_integer() const { return integer_; }
  /// [tokens, stride] with zeros from columns() on. The integers are offset by +128 (u8), as VNNI wants one side
  /// unsigned.
  [[nodiscard]] const float* floats(std::size_t token) const { return floats_.data() + token * stride_; }
  [[nodiscard]] const std::uint8_t* offset_integers(std::size_t token) const {
    return integers_.data() + token * stride_;
  }
  [[nodiscard]] float scale(std::size_t token) const { return scales_[token]; }

 private:
  void reset(const PackedLayout& layout, std::size_t tokens, bool integer);

  std::vector<float> floats_;
  std::vector<std::uint8_t> integers_;
  std::vector<float> scales_;
  std::size_t tokens_ = 0;
  std::size_t columns_ = 0;
  std::size_t stride_ = 0;
  bool integer_ = false;
};

/// output[t][r] = sum over c of weight[r][c] * token[t][c] for rows r in [first, first + count) of a packed matrix.
/// `output` is [tokens, matrix rows]; only the columns of those rows are written. `first` is a multiple of
/// kPackedBlockRows. Any number of tokens. Spread over the thread pool.
///
/// A token's result depends bit for bit on nothing but its input, the row and the instruction set. int8 results are the
/// same on every instruction set: exact int32 sums, then float(sum) * (row scale * token scale).
void packed_linear(const PackedMatrixView& matrix, const PackedInput& input, std::size_t first, std::size_t count,
                   MatrixView<float> output);

/// int8 formats only: the exact sums before any scale.
void packed_linear_sums(const PackedMatrixView& matrix, const PackedInput& input, std::size_t first, std::size_t count,
                        MatrixView<std::int32_t> output);

/// All rows, tokens prepared inside.
void packed_linear(const PackedMatrixView& matrix, MatrixView<const float> tokens, MatrixView<float> output);

/// The same by the definition through packed_entry(), in double precision (int8: exact): what tests compare with.
void packed_linear_reference(const PackedMatrixView& matrix, const PackedInput& input, MatrixView<float> output);

}  // namespace flame::kernels
