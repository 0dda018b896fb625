#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "flame/base/matrix_view.h"

namespace flame::kernels {

/// How a packed value is stored.
enum class PackedType : std::uint8_t {
  kF32,
  kBF16,
  kInt8,  ///< symmetric, -127..127, one f32 scale a row
  kInt4,  ///< symmetric, -7..7, one f16 scale for every `int4_group` inputs of a row
};

/// "f32", "bf16", "int8", "int4".
[[nodiscard]] std::string_view name_of(PackedType type);
[[nodiscard]] bool parse_packed_type(std::string_view name, PackedType& type);

/// N:M with the type of the kept values. In every group of m consecutive inputs of a row n values are kept, each with
/// its position in the group in ceil(log2 m) bits. n == m is dense and stores no positions.
struct PackedFormat {
  std::uint8_t n = 1;
  std::uint8_t m = 1;
  PackedType type = PackedType::kF32;
  std::uint8_t int4_group = 64;  ///< 32 or 64 inputs share a scale; only read for kInt4

  [[nodiscard]] bool dense() const { return n == m; }
  /// ceil(log2 m); 0 for a dense format.
  [[nodiscard]] std::size_t index_bits() const;
  /// "2:4 int8", "dense bf16", "1:4 int4/32".
  [[nodiscard]] std::string describe() const;
  friend bool operator==(const PackedFormat&, const PackedFormat&) = default;
};

/// Throws UsageError unless 1 <= n <= m <= 16 and, for int4, int4_group is 32 or 64.
void check(const PackedFormat& format);

/// Rows that are stored together, and kept values of one row that are stored together.
inline constexpr std::size_t kPackedBlockRows = 16;
inline constexpr std::size_t kPackedChunk = 64;

/// Where everything lies in a packed matrix [rows, columns].
///
/// The matrix is a run of row blocks of kPackedBlockRows rows (the last one shorter when the rows do not divide). A
/// block is complete in itself, so a reader computes on the blocks that have arrived:
///
///   scales   int8: f32 [block rows];  int4: f16 [block rows][scale groups];  f32 and bf16: nothing
///   chunk 0  values [block rows][64], then positions [block rows][64 * index_bits / 8 bytes]
///   chunk 1  …
///   the last chunk holds the rest of the row, rounded up to whole bytes a row
///
/// All numbers are little-endian. A row's kept values stand in ascending column order, n for each of ceil(columns / m)
/// groups; past the end of the row (when m does not divide columns) stand zeros. There is no padding: size_bytes() is
/// exact. How fields narrower than a byte (positions, int4 values) share bytes is said at read_field().
class PackedLayout {
 public:
  /// Throws UsageError for a format that check() refuses, zero rows or columns, or a size past 2^48 bytes.
  PackedLayout(const PackedFormat& format, std::size_t rows, std::size_t columns);

  [[nodiscard]] const PackedFormat& format() const { return format_; }
  [[nodiscard]] std::size_t rows() const { return rows_; }
  [[nodiscard]] std::size_t columns() const { return columns_; }

  /// Kept values of a row: ceil(columns / m) * n.
  [[nodiscard]] std::size_t kept() const { return kept_; }
  /// Columns with the tail group filled up: ceil(columns / m) * m.
  [[nodiscard]] std::size_t padded_columns() const { return padded_columns_; }
  /// int4: scales of one row, ceil(padded_columns / int4_group). int8: 1. Otherwise 0.
  [[nodiscard]] std::size_t scale_groups() const { return scale_groups_; }
  /// Chunks of a row, and the kept values in one: kPackedChunk but for the last.
  [[nodiscard]] std::size_t chunks() const { return (kept_ + kPackedChunk - 1) / kPackedChunk; }
  [[nodiscard]] std::size_t chunk_values(std::size_t chunk) const {
    return chunk < kept_ / kPackedChunk ? kPackedChunk : kept_ % kPackedChunk;
  }
  /// Bytes of `values` kept values (of their positions) of one row in one chunk.
  [[nodiscard]] std::size_t value_bytes_of(std::size_t values) const;
  [[nodiscard]] std::size_t index_bytes_of(std::size_t values) const { return (values * index_bits_ + 7) / 8; }

  /// Bytes that the values (the positions, the scales) of one row, and of the whole matrix, take.
  [[nodiscard]] std::size_t row_value_bytes() const { return row_value_bytes_; }
  [[nodiscard]] std::size_t row_index_bytes() const { return row_index_bytes_; }
  [[nodiscard]] std::size_t row_scale_bytes() const { return row_scale_bytes_; }
  [[nodiscard]] std::size_t value_bytes() const { return rows_ * row_value_bytes_; }
  [[nodiscard]] std::size_t index_bytes() const { return rows_ * row_index_bytes_; }
  [[nodiscard]] std::size_t scale_bytes() const { return rows_ * row_scale_bytes_; }
  [[nodiscard]] std::size_t row_bytes() const { return row_value_bytes_ + row_index_bytes_ + row_scale_bytes_; }
  [[nodiscard]] std::size_t size_bytes() const { return rows_ * row_bytes(); }

  [[nodiscard]] std::size_t blocks() const { return (rows_ + kPackedBlockRows - 1) / kPackedBlockRows; }
  [[nodiscard]] std::size_t block_rows(std::size_t block) const;
  /// Byte at which a block begins; block_offset(blocks()) is size_bytes().
  [[nodiscard]] std::size_t block_offset(std::size_t block) const;
  /// Rows that are complete when the first `bytes` bytes of the matrix are there.
  [[nodiscard]] std::size_t rows_in_prefix(std::size_t bytes) const;

  friend bool operator==(const PackedLayout&, const PackedLayout&) = default;

 private:
  PackedFormat format_;
  std::size_t rows_;
  std::size_t columns_;
  std::size_t kept_ = 0;
  std::size_t padded_columns_ = 0;
  std::size_t scale_groups_ = 0;
  std::size_t index_bits_ = 0;
  std::size_t row_value_bytes_ = 0;
  std::size_t row_index_bytes_ = 0;
  std::size_t row_scale_bytes_ = 0;
};

/// A packed matrix whose bytes somebody else owns. `bytes` needs no alignment (64 is faster) and must have
/// layout.size_bytes() elements, of which only the blocks asked for are read. Any bytes are safe to compute on;
/// positions that no packer writes (past a group's end) give a meaningless number.
struct PackedMatrixView {
  PackedLayout layout;
  std::span<const std::byte> bytes;
};

/// Where one chunk of one row lies, in bytes from the start of its block.
struct PackedChunkPlace {
  std::size_t values = 0;
  std::size_t positions = 0;
};

/// `block_rows` is layout.block_rows(block).
[[nodiscard]] PackedChunkPlace chunk_place(const PackedLayout& layout, std::size_t block_rows, std::size_t row_in_block,
                                           std::size_t chunk);

/// Field number k of the `count` fields of `bits` bits (1 to 4) that a chunk of one row has.
///
/// In a whole chunk of 64 the fields lie in planes, so that a vector kernel unpacks them with one broadcast, one shift
/// and one mask: a plane of p bits (1, 2 or 4) is 8 * p bytes, and its field k is in byte k mod 8p, from bit p * (k div
/// 8p) on. Fields of 3 bits are a plane of their two low bits, then one of their high bits. In a short last chunk the
/// fields are one string of bits, each byte filled from its low end.
[[nodiscard]] std::uint32_t read_field(const std::byte* fields, std::size_t bits, std::size_t k, std::size_t count);

/// Writes a field whose bits are zero so far.
void write_field(std::uint32_t value, std::byte* fields, std::size_t bits, std::size_t k, std::size_t count);

/// One kept value as it is stored.
struct PackedEntry {
  std::size_t column = 0;    ///< may be past the last column in a padded tail group
  float value = 0.0F;        ///< dequantised
  std::int32_t integer = 0;  ///< int8 and int4: the stored integer
};

/// The reference reader: kept value number `index` (0 … kept() - 1) of row `row`.
[[nodiscard]] PackedEntry packed_entry(const PackedMatrixView& matrix, std::size_t row, std::size_t index);

/// The scale of row `row` at `column` (int8: of the whole row); 1 for f32 and bf16.
[[nodiscard]] float packed_scale(const PackedMatrixView& matrix, std::size_t row, std::size_t column);

/// Writes the dense, dequantised rows [first, first + count) to `output` [count, columns].
/// Positions that no packer writes (past the end of the row) are ignored.
void unpack_rows(const PackedMatrixView& matrix, std::size_t first, std::size_t count, MatrixView<float> output);

}  // namespace flame::kernels
