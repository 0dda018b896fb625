#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/base/aligned_vector.h"
#include "flame/base/matrix_view.h"
#include "flame/kernels/packed_matrix.h"

namespace flame::kernels {

/// Tokens in the form that packed kernels read: copied once, then used for any number of row ranges.
/// f32 and bf16 formats read fp32 tokens. int8 and int4 formats read int8 tokens: each token is quantised symmetrically
/// by its own largest magnitude (quantise_symmetric of kernels/int8_expert.h), so a token never depends on those beside
/// it. Memory is kept between calls.
class PackedInput {
 public:
  /// `tokens` is [tokens, layout.columns()].
  void assign(const PackedLayout& layout, MatrixView<const float> tokens);
  /// For int8 and int4 formats: tokens that are integers already; token t stands for scales[t] * codes[t].
  void assign(const PackedLayout& layout, MatrixView<const std::int8_t> codes, std::span<const float> scales);

  [[nodiscard]] std::size_t tokens() const { return tokens_; }
  [[nodiscard]] std::size_t columns() const { return columns_; }

  // What kernels read: rows of `stride` elements with zeros from columns() on, for as far as the format looks.
  [[nodiscard]] const float* floats(std::size_t token) const { return floats_.data() + token * stride_; }
  /// Codes plus code_offset(), as VNNI wants one operand unsigned.
  [[nodiscard]] const std::uint8_t* codes(std::size_t token) const { return codes_.data() + token * stride_; }
  /// 128, or 0 when no code is negative (after a ReLU): then nothing has to be corrected.
  [[nodiscard]] std::int32_t code_offset() const { return code_offset_; }
  [[nodiscard]] float scale(std::size_t token) const { return scales_[token]; }

 private:
  void reset(const PackedLayout& layout, std::size_t tokens);
  void store_codes(std::size_t token, std::span<const std::int8_t> codes);

  // Rows are whole cache lines: kernels load them, or name them in instructions, a vector at a time.
  AlignedVector<float> floats_;
  AlignedVector<std::uint8_t> codes_;
  std::vector<float> scales_;
  std::size_t tokens_ = 0;
  std::size_t columns_ = 0;
  std::size_t stride_ = 0;
  std::int32_t code_offset_ = 0;
};

/// What becomes of the results before a kernel goes on to the next 16 rows, in this order. Nothing by default.
struct PackedEpilogue {
  bool relu = false;                     ///< max(result, 0)
  MatrixView<const float> multipliers;   ///< [tokens, matrix rows]: results are multiplied by these; or empty
  std::span<const float> token_factors;  ///< [tokens]: a token's results are multiplied by its factor; or empty
};

/// output[t][r] = sum over c of weight[r][c] * token[t][c] for rows r in [first, first + count) of a packed matrix.
/// `output` is [tokens, matrix rows]; only the columns of those rows are written. `first` is a multiple of
/// kPackedBlockRows. Any number of tokens. Spread over the thread pool.
///
/// A token's result depends bit for bit on nothing but its input, the row and the instruction set. int8 results are the
/// same on every instruction set: exact int32 sums, then float(sum) * (row scale * token scale).
void packed_linear(const PackedMatrixView& matrix, const PackedInput& input, std::size_t first, std::size_t count,
                   MatrixView<float> output, const PackedEpilogue& epilogue = {});

/// int8 formats only: the exact sums before any scale.
void packed_linear_sums(const PackedMatrixView& matrix, const PackedInput& input, std::size_t first, std::size_t count,
                        MatrixView<std::int32_t> output);

/// All rows, tokens prepared inside.
void packed_linear(const PackedMatrixView& matrix, MatrixView<const float> tokens, MatrixView<float> output);

/// The same by the definition through packed_entry(), in double precision (int8: exact): what tests compare with.
void packed_linear_reference(const PackedMatrixView& matrix, const PackedInput& input, MatrixView<float> output);

}  // namespace flame::kernels
