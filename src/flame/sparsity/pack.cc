#include "flame/sparsity/pack.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstring>
#include <optional>

#include "flame/base/data_type.h"
#include "flame/base/error.h"
#include "flame/base/thread_pool.h"
#include "flame/kernels/int8_expert.h"

namespace flame::sparsity {
namespace {

using kernels::kPackedBlockRows;
using kernels::kPackedChunk;
using kernels::PackedFormat;
using kernels::PackedLayout;
using kernels::PackedType;

constexpr float kInt4Limit = 7.0F;

template <typename T>
void store(T value, std::byte* position) {
  std::memcpy(position, &value, sizeof(value));
}

void check_finite(float value, std::size_t row, std::size_t column) {
  if (std::isfinite(value)) return;
  throw ModelError(
      fmt::format("the weight at row {}, column {} is {}: only finite weights can be packed", row, column, value));
}

/// The f16 scale of one int4 group.
Float16 int4_scale(float largest, std::size_t row) {
  const Float16 scale = Float16::from_float(largest / kInt4Limit);
  if (std::isfinite(scale.to_float())) return scale;
  throw ModelError(
      fmt::format("row {} has a weight of {}: an int4 scale goes up to {}", row, largest, 65504.0F * kInt4Limit));
}

int int4_code(float value, float scale) {
  if (scale == 0.0F) return 0;
  return static_cast<int>(std::clamp(std::nearbyint(value / scale), -kInt4Limit, kInt4Limit));
}

BFloat16 to_bfloat16(float value, std::size_t row, std::size_t column) {
  const BFloat16 result = BFloat16::from_float(value);
  check_finite(result.to_float(), row, column);
  return result;
}

/// The kept values of one row in the order in which they are packed.
struct KeptRow {
  std::vector<std::size_t> columns;
  std::vector<float> values;
  std::vector<std::int8_t> codes;  // scratch of the quantisers
};

class RowPacker {
 public:
  RowPacker(const PackedLayout& layout, std::span<std::byte> block, std::size_t block_rows)
      : layout_(layout), block_(block), block_rows_(block_rows) {}

  /// `keep` may be empty: then the values that are not zero are kept.
  void pack(std::size_t row, std::span<const float> dense, std::span<const std::uint8_t> keep) {
    select(row, dense, keep);
    const std::size_t in_block = row % kPackedBlockRows;
    std::byte* scales = block_.data() + in_block * layout_.row_scale_bytes();
    switch (layout_.format().type) {
      case PackedType::kF32:
        return put(in_block, [&](std::byte* values, std::size_t i, std::size_t k, std::size_t) {
          store(kept_.values[i], values + k * sizeof(float));
        });
      case PackedType::kBF16:
        return put(in_block, [&](std::byte* values, std::size_t i, std::size_t k, std::size_t) {
          store(to_bfloat16(kept_.values[i], row, kept_.columns[i]), values + k * sizeof(BFloat16));
        });
      case PackedType::kInt8:
        kept_.codes.resize(kept_.values.size());
        store(kernels::quantise_symmetric(kept_.values, kept_.codes), scales);
        return put(in_block, [&](std::byte* values, std::size_t i, std::size_t k, std::size_t) {
          store(kept_.codes[i], values + k);
        });
      case PackedType::kInt4:
        quantise_int4(row, scales);
        return put(in_block, [&](std::byte* values, std::size_t i, std::size_t k, std::size_t count) {
          kernels::write_field(static_cast<std::uint32_t>(kept_.codes[i]) & 0xfU, values, 4, k, count);
        });
    }
  }

 private:
  void select(std::size_t row, std::span<const float> dense, std::span<const std::uint8_t> keep) {
    const PackedFormat& format = layout_.format();
    kept_.columns.clear();
    kept_.values.clear();
    for (std::size_t start = 0; start < layout_.padded_columns(); start += format.m) {
      const std::size_t real = std::min<std::size_t>(format.m, layout_.columns() - start);
      std::array<bool, 16> chosen{};
      std::size_t count = 0;
      for (std::size_t i = 0; i < real; ++i) {
        chosen[i] = keep.empty() ? dense[start + i] != 0.0F : keep[start + i] != 0;
        count += chosen[i] ? 1 : 0;
      }
      if (count > format.n) {
        throw ModelError(fmt::format(
            "row {} has {} weights to keep in columns {} to {}, {}:{} allows {}: prune the matrix to the pattern first",
            row, count, start, start + real - 1, format.n, format.m, format.n));
      }
      for (std::size_t i = 0; count < format.n; ++i) {
        if (chosen[i]) continue;
        chosen[i] = true;
        ++count;
      }
      for (std::size_t i = 0; i < format.m; ++i) {
        if (!chosen[i]) continue;
        const std::size_t column = start + i;
        const bool ours = i < real && (keep.empty() || keep[column] != 0);
        const float value = ours ? dense[column] : 0.0F;
        check_finite(value, row, column);
        kept_.columns.push_back(column);
        kept_.values.push_back(value);
      }
    }
  }

  void quantise_int4(std::size_t row, std::byte* scales) {
    const std::size_t group_size = layout_.format().int4_group;
    kept_.codes.resize(kept_.values.size());
    std::size_t i = 0;
    for (std::size_t group = 0; group < layout_.scale_groups(); ++group) {
      const std::size_t end_column = (group + 1) * group_size;
      std::size_t end = i;
      float largest = 0.0F;
      for (; end < kept_.columns.size() && kept_.columns[end] < end_column; ++end) {
        largest = std::max(largest, std::fabs(kept_.values[end]));
      }
      const Float16 scale = int4_scale(largest, row);
      store(scale, scales + group * sizeof(Float16));
      for (; i < end; ++i) kept_.codes[i] = static_cast<std::int8_t>(int4_code(kept_.values[i], scale.to_float()));
    }
  }

  /// Calls put_value(values of the chunk, index in the row, index in the chunk, values in the chunk) for all kept
  /// values; writes positions.
  template <typename PutValue>
  void put(std::size_t in_block, PutValue put_value) {
    const PackedFormat& format = layout_.format();
    const std::size_t bits = format.index_bits();
    for (std::size_t chunk = 0; chunk < layout_.chunks(); ++chunk) {
      const kernels::PackedChunkPlace place = kernels::chunk_place(layout_, block_rows_, in_block, chunk);
      const std::size_t count = layout_.chunk_values(chunk);
      for (std::size_t k = 0; k < count; ++k) {
        const std::size_t i = chunk * kPackedChunk + k;
        put_value(block_.data() + place.values, i, k, count);
        kernels::write_field(static_cast<std::uint32_t>(kept_.columns[i] % format.m), block_.data() + place.positions,
                             bits, k, count);
      }
    }
  }

  const PackedLayout& layout_;
  std::span<std::byte> block_;
  std::size_t block_rows_;
  KeptRow kept_;
};

void pack(const PackedLayout& layout, std::size_t first, MatrixView<const float> dense,
          std::optional<MatrixView<const std::uint8_t>> keep, std::span<std::byte> bytes) {
  assert(bytes.size() == layout.size_bytes() && dense.columns() == layout.columns());
  assert(first % kPackedBlockRows == 0 && first <= layout.rows() && dense.rows() <= layout.rows() - first);
  assert(dense.rows() % kPackedBlockRows == 0 || first + dense.rows() == layout.rows());
  const std::size_t first_block = first / kPackedBlockRows;
  const std::size_t blocks = (dense.rows() + kPackedBlockRows - 1) / kPackedBlockRows;
  ThreadPool::parallel_for(blocks, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t b = begin; b < end; ++b) {
      const std::size_t block = first_block + b;
      const std::size_t block_rows = layout.block_rows(block);
      const std::size_t offset = layout.block_offset(block);
      const std::span<std::byte> part = bytes.subspan(offset, layout.block_offset(block + 1) - offset);
      std::ranges::fill(part, std::byte{0});
      RowPacker packer(layout, part, block_rows);
      for (std::size_t r = 0; r < block_rows; ++r) {
        const std::size_t row = b * kPackedBlockRows + r;
        packer.pack(first + row, dense.row(row), keep ? keep->row(row) : std::span<const std::uint8_t>());
      }
    }
  });
}

}  // namespace

void pack_rows(const PackedLayout& layout, std::size_t first, MatrixView<const float> dense,
               std::span<std::byte> bytes) {
  pack(layout, first, dense, std::nullopt, bytes);
}

void pack_rows(const PackedLayout& layout, std::size_t first, MatrixView<const float> dense,
               MatrixView<const std::uint8_t> keep, std::span<std::byte> bytes) {
  assert(keep.rows() == dense.rows() && keep.columns() == dense.columns());
  pack(layout, first, dense, keep, bytes);
}

std::vector<std::byte> pack_matrix(const PackedFormat& format, MatrixView<const float> dense) {
  const PackedLayout layout(format, dense.rows(), dense.columns());
  std::vector<std::byte> bytes(layout.size_bytes());
  pack_rows(layout, 0, dense, bytes);
  return bytes;
}

void pack_expert(const kernels::PackedExpertLayout& layout, MatrixView<const float> wi, MatrixView<const float> gate,
                 MatrixView<const float> wo, std::span<std::byte> bytes) {
  assert(bytes.size() == layout.size_bytes() && gate.empty() != layout.gated);
  const PackedLayout inner = layout.wi();
  pack_rows(inner, 0, wi, bytes.first(inner.size_bytes()));
  if (layout.gated) pack_rows(inner, 0, gate, bytes.subspan(layout.gate_offset(), inner.size_bytes()));
  pack_rows(layout.wo(), 0, wo, bytes.subspan(layout.wo_offset()));
}

void quantise_rows(const PackedFormat& format, MatrixView<float> dense) {
  kernels::check(format);
  std::vector<std::int8_t> codes(dense.columns());
  for (std::size_t r = 0; r < dense.rows(); ++r) {
    const std::span<float> row = dense.row(r);
    for (std::size_t c = 0; c < row.size(); ++c) check_finite(row[c], r, c);
    switch (format.type) {
      case PackedType::kF32:
        break;
      case PackedType::kBF16:
        for (std::size_t c = 0; c < row.size(); ++c) row[c] = to_bfloat16(row[c], r, c).to_float();
        break;
      case PackedType::kInt8: {
        const float scale = kernels::quantise_symmetric(row, codes);
        for (std::size_t c = 0; c < row.size(); ++c) row[c] = static_cast<float>(codes[c]) * scale;
        break;
      }
      case PackedType::kInt4:
        for (std::size_t start = 0; start < row.size(); start += format.int4_group) {
          const std::span<float> group =
              row.subspan(start, std::min<std::size_t>(format.int4_group, row.size() - start));
          float largest = 0.0F;
          for (const float value : group) largest = std::max(largest, std::fabs(value));
          const float scale = int4_scale(largest, r).to_float();
          for (float& value : group) value = static_cast<float>(int4_code(value, scale)) * scale;
        }
        break;
    }
  }
}

}  // namespace flame::sparsity
