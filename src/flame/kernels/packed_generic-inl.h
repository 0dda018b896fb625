// The general kernel: any n, m and value type, on any instruction set. Positions are looked up one by one; the products
// are vectors. Included by packed_kernels.cc once for each instruction set.
#if defined(FLAME_KERNELS_PACKED_GENERIC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLAME_KERNELS_PACKED_GENERIC_INL_H_
#undef FLAME_KERNELS_PACKED_GENERIC_INL_H_
#else
#define FLAME_KERNELS_PACKED_GENERIC_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "flame/base/data_type.h"
#include "flame/kernels/packed_block.h"
#include "flame/kernels/widen-inl.h"

HWY_BEFORE_NAMESPACE();
namespace flame::kernels::HWY_NAMESPACE {
namespace {

// The columns of a chunk's kept values.
using ChunkColumns = std::array<std::uint32_t, kPackedChunk>;

inline std::uint64_t spread(std::uint64_t packed, std::size_t bits) {
  switch (bits) {
    case 1:
      return spread_fields<1>(packed);
    case 2:
      return spread_fields<2>(packed);
    case 3:
      return spread_fields<3>(packed);
    default:
      return spread_fields<4>(packed);
  }
}

// The positions of a whole chunk, plane by plane.
inline void read_planes(const std::byte* positions, std::size_t bits, std::uint8_t* fields) {
  const std::size_t low_bits = bits == 3 ? 2 : bits;
  const std::size_t width = kPackedChunk / 8 * low_bits;
  const auto field = static_cast<unsigned>((1U << low_bits) - 1U);
  for (std::size_t k = 0; k < kPackedChunk; ++k) {
    const auto byte = static_cast<unsigned>(positions[k % width]);
    fields[k] = static_cast<std::uint8_t>(byte >> (low_bits * (k / width)) & field);
  }
  if (bits != 3) return;
  for (std::size_t k = 0; k < kPackedChunk; ++k) {
    const auto byte = static_cast<unsigned>(positions[width + k % 8]);
    fields[k] = static_cast<std::uint8_t>(fields[k] | (byte >> (k / 8) & 1U) << 2);
  }
}

inline void read_string(const std::byte* positions, std::size_t bits, std::size_t values, std::uint8_t* fields) {
  std::byte bytes[kPackedChunk / 8 * 4 + 8] = {};
  std::copy_n(positions, (values * bits + 7) / 8, bytes);
  for (std::size_t k = 0; k < values; k += 8) {
    std::uint64_t eight = 0;
    std::memcpy(&eight, bytes + k / 8 * bits, sizeof(eight));
    eight = spread(eight & ((std::uint64_t{1} << (8 * bits)) - 1), bits);
    std::memcpy(fields + k, &eight, sizeof(eight));
  }
}

inline void read_columns(const PackedLayout& layout, const std::byte* positions, std::size_t chunk, std::size_t values,
                         ChunkColumns& columns) {
  const PackedFormat& format = layout.format();
  const std::size_t bits = format.index_bits();
  std::uint8_t fields[kPackedChunk];
  if (bits > 0 && values == kPackedChunk) {
    read_planes(positions, bits, fields);
  } else if (bits > 0) {
    read_string(positions, bits, values, fields);
  }
  std::size_t group = chunk * kPackedChunk / format.n;
  std::size_t in_group = chunk * kPackedChunk % format.n;
  for (std::size_t k = 0; k < values; ++k) {
    columns[k] = static_cast<std::uint32_t>(group * format.m + (bits > 0 ? fields[k] : in_group));
    if (++in_group == format.n) {
      in_group = 0;
      ++group;
    }
  }
}

template <typename Element>
void multiply_generic_floats(const PackedBlock& block, const PackedInput& input, const BlockOutput& output) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<float> df;
  constexpr std::size_t kTokenTile = 8;
  const std::size_t lanes = hn::Lanes(df);
  const PackedLayout& layout = block.layout;
  ChunkColumns columns;
  HWY_ALIGN float gathered[kPackedChunk];
  HWY_ALIGN Element stored[kPackedChunk];
  for (std::size_t first = 0; first < input.tokens(); first += kTokenTile) {
    const std::size_t tokens = std::min(kTokenTile, input.tokens() - first);
    for (std::size_t r = 0; r < block.rows; ++r) {
      hn::Vec<decltype(df)> sums[kTokenTile];
      for (auto& sum : sums) sum = hn::Zero(df);
      for (std::size_t chunk = 0; chunk < layout.chunks(); ++chunk) {
        const std::size_t values = layout.chunk_values(chunk);
        const PackedChunkPlace place = chunk_place(layout, block.rows, r, chunk);
        read_columns(layout, block.bytes + place.positions, chunk, values, columns);
        std::fill(std::begin(stored), std::end(stored), Element{});
        std::memcpy(stored, block.bytes + place.values, values * sizeof(Element));
        std::fill(gathered + values, std::end(gathered), 0.0F);
        for (std::size_t t = 0; t < tokens; ++t) {
          const float* token = input.floats(first + t);
          for (std::size_t k = 0; k < values; ++k) gathered[k] = token[columns[k]];
          for (std::size_t k = 0; k < values; k += lanes) {
            sums[t] = hn::MulAdd(load_widened(df, stored + k), hn::Load(df, gathered + k), sums[t]);
          }
        }
      }
      for (std::size_t t = 0; t < tokens; ++t) {
        output.values[(first + t) * output.stride + r] = hn::GetLane(hn::SumOfLanes(df, sums[t]));
      }
    }
  }
}

inline void multiply_generic_int8(const PackedBlock& block, const PackedInput& input, const BlockOutput& output) {
  const PackedLayout& layout = block.layout;
  ChunkColumns columns;
  for (std::size_t r = 0; r < block.rows; ++r) {
    for (std::size_t t = 0; t < input.tokens(); ++t) {
      const std::uint8_t* token = input.codes(t);
      std::int32_t sum = 0;
      for (std::size_t chunk = 0; chunk < layout.chunks(); ++chunk) {
        const std::size_t values = layout.chunk_values(chunk);
        const PackedChunkPlace place = chunk_place(layout, block.rows, r, chunk);
        read_columns(layout, block.bytes + place.positions, chunk, values, columns);
        const auto* weights = reinterpret_cast<const std::int8_t*>(block.bytes + place.values);
        for (std::size_t k = 0; k < values; ++k) sum += weights[k] * (token[columns[k]] - input.code_offset());
      }
      store_int8_sums(block, input, t, r, 1, &sum, output);
    }
  }
}

inline float int4_scale(const std::byte* row_scales, std::size_t group) {
  Float16 scale;
  std::memcpy(&scale, row_scales + group * sizeof(scale), sizeof(scale));
  return scale.to_float();
}

// A group's products are summed as integers; the sums times their scales are added in the order of the groups.
inline void multiply_generic_int4(const PackedBlock& block, const PackedInput& input, const BlockOutput& output) {
  const PackedLayout& layout = block.layout;
  const std::size_t group_size = layout.format().int4_group;
  ChunkColumns columns;
  for (std::size_t r = 0; r < block.rows; ++r) {
    const std::byte* row_scales = block.bytes + r * layout.row_scale_bytes();
    for (std::size_t t = 0; t < input.tokens(); ++t) {
      const std::uint8_t* token = input.codes(t);
      float total = 0.0F;
      std::int32_t sum = 0;
      std::size_t group = 0;
      for (std::size_t chunk = 0; chunk < layout.chunks(); ++chunk) {
        const std::size_t values = layout.chunk_values(chunk);
        const PackedChunkPlace place = chunk_place(layout, block.rows, r, chunk);
        read_columns(layout, block.bytes + place.positions, chunk, values, columns);
        for (std::size_t k = 0; k < values; ++k) {
          const std::size_t here = std::min(columns[k] / group_size, layout.scale_groups() - 1);
          if (here != group) {
            total += static_cast<float>(sum) * int4_scale(row_scales, group);
            sum = 0;
            group = here;
          }
          const std::uint32_t half = read_field(block.bytes + place.values, 4, k, values);
          const auto weight = static_cast<std::int32_t>(half ^ 8U) - 8;
          sum += weight * (token[columns[k]] - input.code_offset());
        }
      }
      total += static_cast<float>(sum) * int4_scale(row_scales, group);
      output.values[t * output.stride + r] = total * input.scale(t);
    }
  }
}

template <void (*Multiply)(const PackedBlock&, const PackedInput&, const BlockOutput&)>
void multiply_generic_range(const PackedMatrixView& matrix, std::size_t first, std::size_t last,
                            const PackedInput& input, const BlockOutput& output) {
  for_each_block(matrix, first, last, input.tokens(), output,
                 [&](const PackedBlock& block, const BlockOutput& part) { Multiply(block, input, part); });
}

inline BlockKernel generic_kernel(PackedType type) {
  switch (type) {
    case PackedType::kF32:
      return multiply_generic_range<multiply_generic_floats<float>>;
    case PackedType::kBF16:
      return multiply_generic_range<multiply_generic_floats<BFloat16>>;
    case PackedType::kInt8:
      return multiply_generic_range<multiply_generic_int8>;
    case PackedType::kInt4:
      return multiply_generic_range<multiply_generic_int4>;
  }
  return nullptr;
}

}  // namespace
}  // namespace flame::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
