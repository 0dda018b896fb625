#include "flame/kernels/packed_matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstring>
#include <utility>

#include "flame/base/data_type.h"
#include "flame/base/error.h"

namespace flame::kernels {
namespace {

constexpr std::array<std::pair<PackedType, std::string_view>, 4> kTypeNames = {
    {{PackedType::kF32, "f32"}, {PackedType::kBF16, "bf16"}, {PackedType::kInt8, "int8"}, {PackedType::kInt4, "int4"}}};

// Keeps every product below far from overflow.
constexpr std::size_t kMaxExtent = std::size_t{1} << 31;
constexpr std::size_t kMaxBytes = std::size_t{1} << 48;
// int32 sums of 8-bit products stay exact up to here.
constexpr std::size_t kMaxIntegerColumns = std::size_t{1} << 16;

constexpr std::size_t divide_up(std::size_t a, std::size_t b) { return (a + b - 1) / b; }

template <typename T>
T load(const std::byte* position) {
  T value;
  std::memcpy(&value, position, sizeof(value));
  return value;
}

// Calls visit(bit of the field, byte, bit of the byte) for all bits of a field.
template <typename Visit>
void for_each_bit(std::size_t bits, std::size_t k, std::size_t count, Visit visit) {
  if (count < kPackedChunk) {
    for (std::size_t i = 0; i < bits; ++i) visit(i, (k * bits + i) / 8, (k * bits + i) % 8);
    return;
  }
  const auto visit_plane = [&](std::size_t first_bit, std::size_t plane_bits, std::size_t first_byte) {
    const std::size_t width = kPackedChunk / 8 * plane_bits;
    for (std::size_t i = 0; i < plane_bits; ++i) {
      visit(first_bit + i, first_byte + k % width, plane_bits * (k / width) + i);
    }
  };
  visit_plane(0, bits == 3 ? 2 : bits, 0);
  if (bits == 3) visit_plane(2, 1, kPackedChunk / 8 * 2);
}

}  // namespace

std::string_view name_of(PackedType type) {
  return std::ranges::find(kTypeNames, type, &std::pair<PackedType, std::string_view>::first)->second;
}

bool parse_packed_type(std::string_view name, PackedType& type) {
  const auto* found = std::ranges::find(kTypeNames, name, &std::pair<PackedType, std::string_view>::second);
  if (found == kTypeNames.end()) return false;
  type = found->first;
  return true;
}

std::size_t PackedFormat::index_bits() const {
  return dense() ? 0 : static_cast<std::size_t>(std::bit_width(static_cast<unsigned>(m) - 1U));
}

std::string PackedFormat::describe() const {
  const std::string pattern = dense() ? "dense" : fmt::format("{}:{}", n, m);
  if (type == PackedType::kInt4) return fmt::format("{} int4/{}", pattern, int4_group);
  return fmt::format("{} {}", pattern, name_of(type));
}

void check(const PackedFormat& format) {
  if (format.n < 1 || format.n > format.m || format.m > 16) {
    throw UsageError(fmt::format("pattern {}:{} cannot be packed: 1 <= N <= M <= 16 is needed", format.n, format.m));
  }
  if (format.type == PackedType::kInt4 && format.int4_group != 32 && format.int4_group != 64) {
    throw UsageError(fmt::format("int4 scales are shared by groups of 32 or 64 inputs, not {}", format.int4_group));
  }
}

PackedLayout::PackedLayout(const PackedFormat& format, std::size_t rows, std::size_t columns)
    : format_(format), rows_(rows), columns_(columns) {
  check(format);
  const bool integers = format.type == PackedType::kInt8 || format.type == PackedType::kInt4;
  if (rows == 0 || columns == 0 || rows > kMaxExtent || columns > (integers ? kMaxIntegerColumns : kMaxExtent)) {
    throw UsageError(fmt::format("a matrix of {} x {} cannot be packed as {}", rows, columns, format.describe()));
  }
  const std::size_t groups = divide_up(columns, format.m);
  index_bits_ = format.index_bits();
  kept_ = groups * format.n;
  padded_columns_ = groups * format.m;
  const std::size_t whole_chunks = kept_ / kPackedChunk;
  const std::size_t rest = kept_ % kPackedChunk;
  row_value_bytes_ = whole_chunks * value_bytes_of(kPackedChunk) + value_bytes_of(rest);
  row_index_bytes_ = whole_chunks * index_bytes_of(kPackedChunk) + index_bytes_of(rest);
  if (format.type == PackedType::kInt8) {
    scale_groups_ = 1;
    row_scale_bytes_ = sizeof(float);
  } else if (format.type == PackedType::kInt4) {
    scale_groups_ = divide_up(padded_columns_, format.int4_group);
    row_scale_bytes_ = scale_groups_ * sizeof(Float16);
  }
  if (row_bytes() > kMaxBytes / rows) {
    throw UsageError(fmt::format("a matrix of {} x {} is too large to be packed", rows, columns));
  }
}

std::size_t PackedLayout::value_bytes_of(std::size_t values) const {
  switch (format_.type) {
    case PackedType::kF32:
      return values * sizeof(float);
    case PackedType::kBF16:
      return values * sizeof(BFloat16);
    case PackedType::kInt8:
      return values;
    case PackedType::kInt4:
      return (values + 1) / 2;
  }
  return 0;
}

std::size_t PackedLayout::block_rows(std::size_t block) const {
  assert(block < blocks());
  return std::min(kPackedBlockRows, rows_ - block * kPackedBlockRows);
}

std::size_t PackedLayout::block_offset(std::size_t block) const {
  return std::min(block * kPackedBlockRows, rows_) * row_bytes();
}

std::size_t PackedLayout::rows_in_prefix(std::size_t bytes) const {
  if (bytes >= size_bytes()) return rows_;
  return bytes / (kPackedBlockRows * row_bytes()) * kPackedBlockRows;
}

std::uint32_t read_field(const std::byte* fields, std::size_t bits, std::size_t k, std::size_t count) {
  std::uint32_t value = 0;
  for_each_bit(bits, k, count, [&](std::size_t bit, std::size_t byte, std::size_t bit_of_byte) {
    value |= ((static_cast<std::uint32_t>(fields[byte]) >> bit_of_byte) & 1U) << bit;
  });
  return value;
}

void write_field(std::uint32_t value, std::byte* fields, std::size_t bits, std::size_t k, std::size_t count) {
  for_each_bit(bits, k, count, [&](std::size_t bit, std::size_t byte, std::size_t bit_of_byte) {
    fields[byte] |= static_cast<std::byte>(((value >> bit) & 1U) << bit_of_byte);
  });
}

PackedChunkPlace chunk_place(const PackedLayout& layout, std::size_t block_rows, std::size_t row_in_block,
                             std::size_t chunk) {
  const std::size_t whole = layout.value_bytes_of(kPackedChunk) + layout.index_bytes_of(kPackedChunk);
  const std::size_t start = block_rows * (layout.row_scale_bytes() + chunk * whole);
  const std::size_t values = layout.chunk_values(chunk);
  const std::size_t value_bytes = layout.value_bytes_of(values);
  return {start + row_in_block * value_bytes,
          start + block_rows * value_bytes + row_in_block * layout.index_bytes_of(values)};
}

float packed_scale(const PackedMatrixView& matrix, std::size_t row, std::size_t column) {
  const PackedLayout& layout = matrix.layout;
  const std::byte* scales = matrix.bytes.data() + layout.block_offset(row / kPackedBlockRows) +
                            row % kPackedBlockRows * layout.row_scale_bytes();
  switch (layout.format().type) {
    case PackedType::kInt8:
      return load<float>(scales);
    case PackedType::kInt4:
      return load<Float16>(scales + column / layout.format().int4_group * sizeof(Float16)).to_float();
    default:
      return 1.0F;
  }
}

PackedEntry packed_entry(const PackedMatrixView& matrix, std::size_t row, std::size_t index) {
  const PackedLayout& layout = matrix.layout;
  const PackedFormat& format = layout.format();
  assert(row < layout.rows() && index < layout.kept());
  const std::size_t block = row / kPackedBlockRows;
  const std::byte* bytes = matrix.bytes.data() + layout.block_offset(block);
  const PackedChunkPlace place =
      chunk_place(layout, layout.block_rows(block), row % kPackedBlockRows, index / kPackedChunk);
  const std::size_t in_chunk = index % kPackedChunk;
  const std::size_t count = layout.chunk_values(index / kPackedChunk);

  PackedEntry entry;
  const std::size_t bits = format.index_bits();
  const std::size_t position =
      format.dense() ? index % format.m : read_field(bytes + place.positions, bits, in_chunk, count);
  entry.column = index / format.n * format.m + position;
  const std::byte* values = bytes + place.values;
  switch (format.type) {
    case PackedType::kF32:
      entry.value = load<float>(values + in_chunk * sizeof(float));
      break;
    case PackedType::kBF16:
      entry.value = load<BFloat16>(values + in_chunk * sizeof(BFloat16)).to_float();
      break;
    case PackedType::kInt8:
      entry.integer = load<std::int8_t>(values + in_chunk);
      entry.value = static_cast<float>(entry.integer) * packed_scale(matrix, row, entry.column);
      break;
    case PackedType::kInt4: {
      const std::uint32_t half = read_field(values, 4, in_chunk, count);
      entry.integer = static_cast<std::int32_t>(half ^ 8U) - 8;
      if (entry.column < layout.padded_columns()) {
        entry.value = static_cast<float>(entry.integer) * packed_scale(matrix, row, entry.column);
      }
      break;
    }
  }
  return entry;
}

void unpack_rows(const PackedMatrixView& matrix, std::size_t first, std::size_t count, MatrixView<float> output) {
  assert(first <= matrix.layout.rows() && count <= matrix.layout.rows() - first);
  assert(output.rows() == count && output.columns() == matrix.layout.columns());
  for (std::size_t r = 0; r < count; ++r) {
    const std::span<float> row = output.row(r);
    std::ranges::fill(row, 0.0F);
    for (std::size_t i = 0; i < matrix.layout.kept(); ++i) {
      const PackedEntry entry = packed_entry(matrix, first + r, i);
      if (entry.column < row.size()) row[entry.column] = entry.value;
    }
  }
}

}  // namespace flame::kernels
