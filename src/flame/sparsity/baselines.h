#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "flame/base/matrix_view.h"

namespace flame::sparsity {

// The two strategies that N:M is compared with (FLAME, section 4): by magnitude, at any sparsity.

/// Unstructured pruning of one matrix: of its rows * columns weights, round((1 - sparsity) * count) stay, those of
/// largest magnitude; of equal ones those that come first in row-major order. The others become zero.
void prune_unstructured(double sparsity, MatrixView<float> weights);

/// Extent of the blocks of column-balanced pruning, in weights.
struct BlockShape {
  std::size_t rows = 32;     ///< outputs
  std::size_t columns = 32;  ///< inputs

  [[nodiscard]] std::string to_string() const;  ///< "32x32"
  friend bool operator==(const BlockShape&, const BlockShape&) = default;
};

/// Reads "ROWSxCOLUMNS". UsageError for anything else and for zero.
[[nodiscard]] BlockShape parse_block_shape(std::string_view text);

/// How many of `columns` columns stay at that sparsity, when `before` columns of other blocks were decided before: the
/// first x columns together always keep their share rounded, so that what blocks round up others round down.
[[nodiscard]] std::size_t kept_columns(double sparsity, std::size_t before, std::size_t columns);

/// Column-balanced block pruning after Peng et al. ("Accelerating Transformer-based Deep Learning Models on FPGAs using
/// Column Balanced Block Pruning", ISQED 2021): the matrix is cut into blocks, and within every block the same number
/// of whole columns stays, or one more, as kept_columns() says going through the blocks row by row: those of largest L2
/// norm (of equal ones the left). So any sparsity is reached, to one column of one block. Blocks at the right edge keep
/// the same share of the columns they have. The paper gives no block size for Transformers of this width; 32x32 is our
/// choice.
void prune_column_blocks(double sparsity, const BlockShape& block, MatrixView<float> weights);

}  // namespace flame::sparsity
