#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "flame/base/matrix_view.h"
#include "flame/sparsity/baselines.h"
#include "flame/sparsity/pattern.h"

namespace flame::sparsity {

/// What it costs to say where the kept weights stand, in bytes, by name of the encoding. Sizes of several matrices add.
using IndexStorage = std::map<std::string, std::uint64_t>;

/// Adds sizes; an encoding that only one of the two knows keeps its size.
void add(const IndexStorage& addend, IndexStorage& sum);

/// The entry of fewest bytes; of equal ones the first name. `storage` is not empty.
[[nodiscard]] std::pair<std::string, std::uint64_t> smallest(const IndexStorage& storage);

/// N:M:
///   "position"  ceil(log2 M) bits for every kept weight: what the packed layout stores
///   "code"      ceil(log2 C(M, N)) bits for every group: one code a combination (2:4 has 6, so 3 bits)
///   "bitmap"    one bit for every weight
[[nodiscard]] IndexStorage pattern_index_storage(Pattern pattern, std::size_t rows, std::size_t columns);

/// Unstructured, where kept weights are those that `kept` says, [rows, columns], 1 or 0:
///   "bitmap"      one bit for every weight
///   "csr"         32 bits for the end of every row, ceil(log2 columns) bits for the column of every kept weight
///   "relative-b"  for b = 2 … 8: b bits for the distance from the last kept weight in row-major order; a longer
///                 distance needs padding, weights of zero stored in between (Han et al., Deep Compression), whose
///                 `value_bits` each are counted too
[[nodiscard]] IndexStorage unstructured_index_storage(MatrixView<const std::uint8_t> kept, std::size_t value_bits);

/// Column-balanced blocks:
///   "bitmap"   one bit for every column of every block
///   "column"   ceil(log2 block columns) bits for every kept column of every block
[[nodiscard]] IndexStorage column_block_index_storage(double sparsity, const BlockShape& block, std::size_t rows,
                                                      std::size_t columns);

}  // namespace flame::sparsity
