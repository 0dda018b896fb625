#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "flame/kernels/packed_linear.h"
#include "flame/kernels/packed_matrix.h"

// What the sources of the packed kernels share; not for users of the library.
namespace flame::kernels {

/// One row block of a packed matrix.
struct PackedBlock {
  const PackedLayout& layout;
  const std::byte* bytes;
  std::size_t rows;                ///< 1 … kPackedBlockRows
  const std::byte* end = nullptr;  ///< of the blocks that the call is for: so far may be read ahead
};

/// Where the results of a block go: token t, row r of the block at [t * stride + r]. Exactly one of the first two
/// pointers is set.
struct BlockOutput {
  float* values = nullptr;
  std::int32_t* sums = nullptr;  ///< int8 only: before any scale
  std::size_t stride = 0;
  // What becomes of `values`, block by block, as PackedEpilogue says.
  bool relu = false;
  const float* multipliers = nullptr;  ///< [token * multiplier_stride + row], or null
  std::size_t multiplier_stride = 0;
  const float* token_factors = nullptr;  ///< [token], or null

  /// The same from `rows` rows further on.
  [[nodiscard]] BlockOutput past(std::size_t rows) const {
    BlockOutput rest = *this;
    if (values != nullptr) rest.values += rows;
    if (sums != nullptr) rest.sums += rows;
    if (multipliers != nullptr) rest.multipliers += rows;
    return rest;
  }
};

/// Multiplies all tokens by the row blocks [first, last) of a matrix; `output` is that of the matrix's row 0. A kernel
/// sets up its tables once for the whole range.
using BlockKernel = void (*)(const PackedMatrixView& matrix, std::size_t first, std::size_t last,
                             const PackedInput& input, const BlockOutput& output);

/// Does to a block's results, while they are in the first-level cache, what `output` asks for.
inline void finish_block(std::size_t rows, std::size_t tokens, const BlockOutput& output) {
  if (output.values == nullptr) return;
  for (std::size_t t = 0; t < tokens; ++t) {
    float* values = output.values + t * output.stride;
    if (output.relu) {
      for (std::size_t r = 0; r < rows; ++r) values[r] = values[r] < 0.0F ? 0.0F : values[r];
    }
    if (output.multipliers != nullptr) {
      const float* multipliers = output.multipliers + t * output.multiplier_stride;
      for (std::size_t r = 0; r < rows; ++r) values[r] *= multipliers[r];
    }
    if (output.token_factors != nullptr) {
      for (std::size_t r = 0; r < rows; ++r) values[r] *= output.token_factors[t];
    }
  }
}

/// Calls multiply(block, output of the block) for the blocks [first, last), and finishes each.
template <typename Multiply>
void for_each_block(const PackedMatrixView& matrix, std::size_t first, std::size_t last, std::size_t tokens,
                    const BlockOutput& output, Multiply&& multiply) {
  constexpr std::size_t kBlocksAhead = 8;
  const std::byte* const end = matrix.bytes.data() + matrix.layout.block_offset(last);
  for (std::size_t block = first; block < last; ++block) {
    const PackedBlock part{matrix.layout, matrix.bytes.data() + matrix.layout.block_offset(block),
                           matrix.layout.block_rows(block), end};
    const BlockOutput part_output = output.past(block * kPackedBlockRows);
    // A store that waits for memory holds up all those behind it.
    if (tokens == 1 && output.values != nullptr)
      __builtin_prefetch(part_output.values + kBlocksAhead * kPackedBlockRows, 1);
    multiply(part, part_output);
    finish_block(part.rows, tokens, part_output);
  }
}

/// The block itself when it has kPackedBlockRows rows. Otherwise a copy in `memory` that rows of zero bytes fill up, so
/// that a kernel written for whole blocks reads it; valid until `memory` is used again.
[[nodiscard]] PackedBlock fill_up_block(const PackedBlock& block, std::vector<std::byte>& memory);

/// Writes the exact sums of rows [first_row, first_row + rows) of an int8 block for one token: as they are, or scaled.
void store_int8_sums(const PackedBlock& block, const PackedInput& input, std::size_t token, std::size_t first_row,
                     std::size_t rows, const std::int32_t* sums, const BlockOutput& output);

/// Spreads eight neighbouring fields of a bit string, Bits bits each, over the bytes of a word.
template <unsigned Bits>
constexpr std::uint64_t spread_fields(std::uint64_t packed) {
  static_assert(1 <= Bits && Bits <= 4);
  constexpr std::uint64_t kField = (std::uint64_t{1} << Bits) - 1;
  constexpr std::uint64_t kFour = (std::uint64_t{1} << (4 * Bits)) - 1;
  constexpr std::uint64_t kTwo = (std::uint64_t{1} << (2 * Bits)) - 1;
  packed = (packed | packed << (32 - 4 * Bits)) & (kFour | kFour << 32);
  packed = (packed | packed << (16 - 2 * Bits)) & (kTwo * 0x0001000100010001U);
  return (packed | packed << (8 - Bits)) & (kField * 0x0101010101010101U);
}

}  // namespace flame::kernels
