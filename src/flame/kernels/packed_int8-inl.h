// The int8 and int4 kernels for instruction sets without VNNI and byte permutes: 16 kept values at a time, looked up in
// tables of 16 inputs, multiplied as 16-bit integers. Included by packed_kernels.cc once for each instruction set.
#if defined(FLAME_KERNELS_PACKED_INT8_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLAME_KERNELS_PACKED_INT8_INL_H_
#undef FLAME_KERNELS_PACKED_INT8_INL_H_
#else
#define FLAME_KERNELS_PACKED_INT8_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "flame/base/data_type.h"
#include "flame/kernels/packed_block.h"
#include "flame/kernels/registers-inl.h"

HWY_BEFORE_NAMESPACE();
namespace flame::kernels::HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_AVX3_DL

// Plain code has no tables to look up in; AVX3_DL has packed_avx512-inl.h.
[[maybe_unused]] inline BlockKernel int8_kernel(const PackedFormat&) { return nullptr; }
[[maybe_unused]] inline BlockKernel int4_kernel(const PackedFormat&) { return nullptr; }

#else

const hwy::HWY_NAMESPACE::Full128<std::uint8_t> kBytes16;
const hwy::HWY_NAMESPACE::Full128<std::int8_t> kCodes16;
using Bytes16 = hwy::HWY_NAMESPACE::Vec<decltype(kBytes16)>;

constexpr std::size_t kTableBytes = 16;

// Adds the products of 16 kept values to `sum`.
template <class Sum>
HWY_INLINE Sum add_products(Bytes16 codes, std::int32_t code_offset, hwy::HWY_NAMESPACE::Vec<decltype(kCodes16)> w,
                            Sum sum) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Full128<std::int16_t> d16;
  const hn::Full128<std::int32_t> d32;
  const hn::Half<decltype(kBytes16)> half_bytes;
  const hn::Half<decltype(kCodes16)> half_codes;
  const auto offset = hn::Set(d16, static_cast<std::int16_t>(code_offset));
  auto low_sum = sum;
  auto high_sum = hn::Zero(d32);
  const auto low = hn::Sub(hn::PromoteTo(d16, hn::LowerHalf(half_bytes, codes)), offset);
  const auto high = hn::Sub(hn::PromoteTo(d16, hn::UpperHalf(half_bytes, codes)), offset);
  low_sum =
      hn::ReorderWidenMulAccumulate(d32, hn::PromoteTo(d16, hn::LowerHalf(half_codes, w)), low, low_sum, high_sum);
  low_sum =
      hn::ReorderWidenMulAccumulate(d32, hn::PromoteTo(d16, hn::UpperHalf(half_codes, w)), high, low_sum, high_sum);
  return hn::Add(low_sum, high_sum);
}

template <std::size_t Span, unsigned Bits>
class ByteGather {
 public:
  explicit ByteGather(const PackedFormat& format) {
    HWY_ALIGN std::uint8_t base[kTableBytes];
    HWY_ALIGN std::uint8_t table[kTableBytes];
    // j / n * m, without divisions: n and m are powers of two.
    const unsigned log_n = static_cast<unsigned>(std::countr_zero(format.n));
    const unsigned log_m = static_cast<unsigned>(std::countr_zero(format.m));
    for (unsigned j = 0; j < kTableBytes; ++j) {
      const unsigned input = j >> log_n << log_m;
      base[j] = static_cast<std::uint8_t>(input % kTableBytes);
      table[j] = static_cast<std::uint8_t>(input / kTableBytes);
    }
    base_ = hwy::HWY_NAMESPACE::Load(kBytes16, base);
    table_ = hwy::HWY_NAMESPACE::Load(kBytes16, table);
  }

  // The positions of the kept values 16 * v … 16 * v + 15 of a whole chunk.
  HWY_INLINE Bytes16 positions(const std::byte* planes, std::size_t v) const {
    namespace hn = hwy::HWY_NAMESPACE;
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(planes);
    Bytes16 fields;
    if constexpr (Bits == 1) {
      fields = high_bits(bytes, v);
    } else if constexpr (Bits == 4) {
      fields = shift_right(hn::LoadU(kBytes16, bytes + v % 2 * 16), v / 2 * 4);
    } else {
      fields = shift_right(hn::LoadU(kBytes16, bytes), 2 * v);
    }
    fields = hn::And(fields, hn::Set(kBytes16, static_cast<std::uint8_t>(Bits == 3 ? 3 : (1 << Bits) - 1)));
    if constexpr (Bits == 3) {
      const Bytes16 high = hn::And(high_bits(bytes + 16, v), hn::Set(kBytes16, std::uint8_t{1}));
      fields = hn::Or(fields, shift_left_2(high));
    }
    return hn::Or(fields, base_);
  }

  // The same in a short last chunk; at least 2 * Bits bytes from `bits` on can be read.
  HWY_INLINE Bytes16 positions_tail(const std::byte* bits) const {
    namespace hn = hwy::HWY_NAMESPACE;
    HWY_ALIGN std::uint64_t halves[2] = {0, 0};
    for (std::size_t h = 0; h < 2; ++h) {
      std::memcpy(&halves[h], bits + h * Bits, Bits);
      halves[h] = spread_fields<Bits>(halves[h]);
    }
    return hn::Or(hn::Load(kBytes16, reinterpret_cast<const std::uint8_t*>(halves)), base_);
  }

  HWY_INLINE Bytes16 gather(const std::uint8_t* token, Bytes16 positions) const {
    namespace hn = hwy::HWY_NAMESPACE;
    Bytes16 picked = hn::TableLookupBytes(hn::LoadU(kBytes16, token), positions);
    for (std::size_t table = 1; table < Span; ++table) {
      const auto mine = hn::Eq(table_, hn::Set(kBytes16, static_cast<std::uint8_t>(table)));
      const auto other = hn::TableLookupBytes(hn::LoadU(kBytes16, token + table * kTableBytes), positions);
      picked = hn::IfThenElse(mine, other, picked);
    }
    return picked;
  }

 private:
  // Shifts whole words: what crosses from byte to byte is masked away by the caller.
  static HWY_INLINE Bytes16 shift_right(Bytes16 bytes, std::size_t count) {
    namespace hn = hwy::HWY_NAMESPACE;
    const hn::Full128<std::uint16_t> d16;
    return hn::BitCast(kBytes16, hn::ShiftRightSame(hn::BitCast(d16, bytes), static_cast<int>(count)));
  }
  static HWY_INLINE Bytes16 shift_left_2(Bytes16 bytes) {
    namespace hn = hwy::HWY_NAMESPACE;
    const hn::Full128<std::uint16_t> d16;
    return hn::BitCast(kBytes16, hn::ShiftLeft<2>(hn::BitCast(d16, bytes)));
  }
  // A plane of single bits holds value k in byte k mod 8, bit k div 8: two bits of the same eight bytes for 16 values.
  static HWY_INLINE Bytes16 high_bits(const std::uint8_t* plane, std::size_t v) {
    std::uint64_t eight = 0;
    std::memcpy(&eight, plane, sizeof(eight));
    HWY_ALIGN const std::uint64_t both[2] = {eight >> (2 * v), eight >> (2 * v + 1)};
    return hwy::HWY_NAMESPACE::Load(kBytes16, reinterpret_cast<const std::uint8_t*>(both));
  }

  Bytes16 base_;
  Bytes16 table_;
};

template <>
class ByteGather<1, 0> {
 public:
  explicit ByteGather(const PackedFormat&) {}
  HWY_INLINE Bytes16 positions(const std::byte*, std::size_t) const { return hwy::HWY_NAMESPACE::Zero(kBytes16); }
  HWY_INLINE Bytes16 positions_tail(const std::byte*) const { return hwy::HWY_NAMESPACE::Zero(kBytes16); }
  HWY_INLINE Bytes16 gather(const std::uint8_t* token, Bytes16) const {
    return hwy::HWY_NAMESPACE::LoadU(kBytes16, token);
  }
};

// One row by up to Tokens tokens: each position is decoded once.
template <std::size_t Span, unsigned Bits, std::size_t Tokens>
HWY_INLINE void multiply_int8_row(const PackedBlock& block, const ByteGather<Span, Bits>& gather, std::size_t row,
                                  const PackedInput& input, std::size_t first_token, const BlockOutput& output) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Full128<std::int32_t> d32;
  const PackedLayout& layout = block.layout;
  hn::Vec<decltype(d32)> sums[Tokens];
  for (auto& sum : sums) sum = hn::Zero(d32);
  for (std::size_t chunk = 0; chunk < layout.chunks(); ++chunk) {
    const std::size_t values = layout.chunk_values(chunk);
    const PackedChunkPlace place = chunk_place(layout, block.rows, row, chunk);
    const std::byte* weights = block.bytes + place.values;
    const std::byte* positions = block.bytes + place.positions;
    HWY_ALIGN std::byte padded_weights[kPackedChunk] = {};
    HWY_ALIGN std::byte padded_positions[kPackedChunk * Bits / 8 + 1] = {};
    if (values < kPackedChunk) {
      std::memcpy(padded_weights, weights, values);
      std::memcpy(padded_positions, positions, layout.index_bytes_of(values));
      weights = padded_weights;
      positions = padded_positions;
    }
    for (std::size_t k = 0; k < values; k += kTableBytes) {
      const Bytes16 picks = values == kPackedChunk ? gather.positions(positions, k / kTableBytes)
                                                   : gather.positions_tail(positions + k / 8 * Bits);
      const auto* codes = reinterpret_cast<const std::int8_t*>(weights + k);
      for (std::size_t t = 0; t < Tokens; ++t) {
        const std::uint8_t* token = input.codes(first_token + t) + (chunk * kPackedChunk + k) * Span;
        sums[t] = add_products(gather.gather(token, picks), input.code_offset(), hn::LoadU(kCodes16, codes), sums[t]);
      }
    }
  }
  for (std::size_t t = 0; t < Tokens; ++t) {
    const std::int32_t total = hn::GetLane(hn::SumOfLanes(d32, sums[t]));
    store_int8_sums(block, input, first_token + t, row, 1, &total, output);
  }
}

// The int4 values 16 * v … 16 * v + 15 of a whole chunk: of 32 bytes, the low halves hold the first 32 values.
HWY_INLINE hwy::HWY_NAMESPACE::Vec<decltype(kCodes16)> int4_values(const std::byte* halves, std::size_t v) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Full128<std::uint16_t> d16;
  const Bytes16 bytes = hn::LoadU(kBytes16, reinterpret_cast<const std::uint8_t*>(halves) + v % 2 * 16);
  const Bytes16 shifted =
      hn::BitCast(kBytes16, hn::ShiftRightSame(hn::BitCast(d16, bytes), static_cast<int>(v / 2 * 4)));
  const Bytes16 eight = hn::Set(kBytes16, std::uint8_t{8});
  const Bytes16 fields = hn::And(shifted, hn::Set(kBytes16, std::uint8_t{15}));
  return hn::BitCast(kCodes16, hn::Sub(hn::Xor(fields, eight), eight));
}

// The same of a plain string of halves, as a short last chunk has it: 8 bytes can be read.
HWY_INLINE hwy::HWY_NAMESPACE::Vec<decltype(kCodes16)> int4_values_tail(const std::byte* halves) {
  namespace hn = hwy::HWY_NAMESPACE;
  std::uint32_t packed[2];
  std::memcpy(packed, halves, sizeof(packed));
  HWY_ALIGN const std::uint64_t fields[2] = {spread_fields<4>(packed[0]), spread_fields<4>(packed[1])};
  const Bytes16 eight = hn::Set(kBytes16, std::uint8_t{8});
  return hn::BitCast(kCodes16,
                     hn::Sub(hn::Xor(hn::Load(kBytes16, reinterpret_cast<const std::uint8_t*>(fields)), eight), eight));
}

// One row of int4 by up to Tokens tokens. The 16 kept values of a step share a scale: their products are added as
// integers, four sums of four, and these times the scale as floats.
template <std::size_t Span, unsigned Bits, std::size_t Tokens>
HWY_INLINE void multiply_int4_row(const PackedBlock& block, const ByteGather<Span, Bits>& gather, std::size_t row,
                                  const PackedInput& input, std::size_t first_token, const BlockOutput& output) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Full128<std::int32_t> d32;
  const hn::Full128<float> df;
  const PackedLayout& layout = block.layout;
  const std::size_t group_size = layout.format().int4_group;
  const std::byte* row_scales = block.bytes + row * layout.row_scale_bytes();
  hn::Vec<decltype(df)> sums[Tokens];
  for (auto& sum : sums) sum = hn::Zero(df);
  for (std::size_t chunk = 0; chunk < layout.chunks(); ++chunk) {
    const std::size_t values = layout.chunk_values(chunk);
    const PackedChunkPlace place = chunk_place(layout, block.rows, row, chunk);
    const std::byte* halves = block.bytes + place.values;
    const std::byte* positions = block.bytes + place.positions;
    HWY_ALIGN std::byte padded_halves[kPackedChunk / 2] = {};
    HWY_ALIGN std::byte padded_positions[kPackedChunk * Bits / 8 + 1] = {};
    if (values < kPackedChunk) {
      std::memcpy(padded_halves, halves, layout.value_bytes_of(values));
      std::memcpy(padded_positions, positions, layout.index_bytes_of(values));
      halves = padded_halves;
      positions = padded_positions;
    }
    for (std::size_t k = 0; k < values; k += kTableBytes) {
      const bool whole = values == kPackedChunk;
      const auto weights = whole ? int4_values(halves, k / kTableBytes) : int4_values_tail(halves + k / 2);
      const Bytes16 picks =
          whole ? gather.positions(positions, k / kTableBytes) : gather.positions_tail(positions + k / 8 * Bits);
      const std::size_t first_input = (chunk * kPackedChunk + k) * Span;
      Float16 half;
      std::memcpy(&half, row_scales + first_input / group_size * sizeof(half), sizeof(half));
      const auto scale = hn::Set(df, half.to_float());
      for (std::size_t t = 0; t < Tokens; ++t) {
        const std::uint8_t* token = input.codes(first_token + t) + first_input;
        const auto products = add_products(gather.gather(token, picks), input.code_offset(), weights, hn::Zero(d32));
        sums[t] = hn::MulAdd(hn::ConvertTo(df, products), scale, sums[t]);
      }
    }
  }
  for (std::size_t t = 0; t < Tokens; ++t) {
    output.values[(first_token + t) * output.stride + row] =
        hn::GetLane(hn::SumOfLanes(df, sums[t])) * input.scale(first_token + t);
  }
}

// The kernels of one pattern, for either type.
template <std::size_t Span, unsigned Bits, bool Int4>
void multiply_bytes_range(const PackedMatrixView& matrix, std::size_t first, std::size_t last, const PackedInput& input,
                          const BlockOutput& output) {
  constexpr std::size_t kTileTokens = 4;
  const ByteGather<Span, Bits> gather(matrix.layout.format());
  const auto multiply_row = [&](auto tokens, const PackedBlock& block, std::size_t r, std::size_t t,
                                const BlockOutput& part) HWY_ATTR {
    if constexpr (Int4) {
      multiply_int4_row<Span, Bits, tokens()>(block, gather, r, input, t, part);
    } else {
      multiply_int8_row<Span, Bits, tokens()>(block, gather, r, input, t, part);
    }
  };
  for_each_block(matrix, first, last, input.tokens(), output,
                 [&](const PackedBlock& block, const BlockOutput& part) HWY_ATTR {
                   for (std::size_t r = 0; r < block.rows; ++r) {
                     std::size_t t = 0;
                     for (; t + kTileTokens <= input.tokens(); t += kTileTokens) {
                       multiply_row(Constant<kTileTokens>(), block, r, t, part);
                     }
                     for (; t < input.tokens(); ++t) multiply_row(Constant<1>(), block, r, t, part);
                   }
                 });
}

// The kernel of span m / n; a group of m = 2^bits inputs is at least as long as the span.
template <std::size_t Span, bool Int4>
BlockKernel bytes_kernel_of_span(std::size_t bits) {
  switch (bits) {
    case 1:
      if constexpr (Span <= 2) return multiply_bytes_range<Span, 1, Int4>;
      break;
    case 2:
      if constexpr (Span <= 4) return multiply_bytes_range<Span, 2, Int4>;
      break;
    case 3:
      return multiply_bytes_range<Span, 3, Int4>;
    case 4:
      return multiply_bytes_range<Span, 4, Int4>;
    default:
      break;
  }
  return nullptr;
}

template <bool Int4>
BlockKernel bytes_kernel(const PackedFormat& format) {
  if (format.dense()) return multiply_bytes_range<1, 0, Int4>;
  if (!std::has_single_bit(format.n) || !std::has_single_bit(format.m)) return nullptr;
  switch (format.m / format.n) {
    case 2:
      return bytes_kernel_of_span<2, Int4>(format.index_bits());
    case 4:
      return bytes_kernel_of_span<4, Int4>(format.index_bits());
    case 8:
      return bytes_kernel_of_span<8, Int4>(format.index_bits());
    default:
      return nullptr;
  }
}

inline BlockKernel int8_kernel(const PackedFormat& format) { return bytes_kernel<false>(format); }

inline BlockKernel int4_kernel(const PackedFormat& format) {
  // 16 kept values must share a scale.
  const std::size_t inputs = kTableBytes * format.m / format.n;
  return format.int4_group % inputs == 0 ? bytes_kernel<true>(format) : nullptr;
}

#endif

}  // namespace
}  // namespace flame::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
