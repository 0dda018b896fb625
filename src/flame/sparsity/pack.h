#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/base/matrix_view.h"
#include "flame/kernels/expert.h"
#include "flame/kernels/packed_matrix.h"

namespace flame::sparsity {

/// Packs rows [first, first + dense.rows()) of a matrix into `bytes`, the run of the whole matrix (layout.size_bytes()
/// elements), quantising for int8 and int4. `first` is a multiple of kPackedBlockRows, and dense.rows() too unless the
/// rows are the last. `dense` is [rows, layout.columns()].
///
/// In each group the n kept values are those not zero; groups with fewer also keep zeros, from the lowest free column
/// on. Throws ModelError naming row and column of a group with more than n values not zero, and of a value that is not
/// finite (or, for bf16 and int formats, does not fit).
void pack_rows(const kernels::PackedLayout& layout, std::size_t first, MatrixView<const float> dense,
               std::span<std::byte> bytes);

/// The same for kept values given by a mask: keep[r][c] != 0 at most n times in each group. Other values of `dense` are
/// ignored.
void pack_rows(const kernels::PackedLayout& layout, std::size_t first, MatrixView<const float> dense,
               MatrixView<const std::uint8_t> keep, std::span<std::byte> bytes);

/// The whole matrix.
[[nodiscard]] std::vector<std::byte> pack_matrix(const kernels::PackedFormat& format, MatrixView<const float> dense);

/// One expert, pruned already, as one run of layout.size_bytes() bytes: wi, gate, wo. `gate` is empty unless gated.
void pack_expert(const kernels::PackedExpertLayout& layout, MatrixView<const float> wi, MatrixView<const float> gate,
                 MatrixView<const float> wo, std::span<std::byte> bytes);

/// The value that a weight has after packing and unpacking: quantises `dense` rows in place as pack_rows would.
/// int8: scale = max|w of the row| / 127; int4: scale = f16(max|w of the group| / 7); integer = w / scale, half to
/// even.
void quantise_rows(const kernels::PackedFormat& format, MatrixView<float> dense);

}  // namespace flame::sparsity
