// The int8 kernel for instruction sets without VNNI and byte permutes: 16 kept values at a time, looked up in tables of
// 16 inputs, multiplied as 16-bit integers. Included by packed_kernels.cc once for each instruction set.
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

#include "flame/kernels/packed_block.h"

HWY_BEFORE_NAMESPACE();
namespace flame::kernels::HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_AVX3_DL

// Plain code has no tables to look up in; AVX3_DL has packed_avx512-inl.h.
[[maybe_unused]] inline BlockKernel int8_kernel(const PackedFormat&) { return nullptr; }

#else

const hwy::HWY_NAMESPACE::Full128<std::uint8_t> kBytes16;
const hwy::HWY_NAMESPACE::Full128<std::int8_t> kCodes16;
using Bytes16 = hwy::HWY_NAMESPACE::Vec<decltype(kBytes16)>;

constexpr std::size_t kTableBytes = 16;

// Adds the products of 16 kept values to `sum`.
template <class Sum>
HWY_INLINE Sum add_products(Bytes16 codes, std::int32_t code_offset, const std::int8_t* weights, Sum sum) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Full128<std::int16_t> d16;
  const hn::Full128<std::int32_t> d32;
  const hn::Half<decltype(kBytes16)> half_bytes;
  const hn::Half<decltype(kCodes16)> half_codes;
  const auto offset = hn::Set(d16, static_cast<std::int16_t>(code_offset));
  const auto w = hn::LoadU(kCodes16, weights);
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
        sums[t] = add_products(gather.gather(token, picks), input.code_offset(), codes, sums[t]);
      }
    }
  }
  for (std::size_t t = 0; t < Tokens; ++t) {
    const std::int32_t total = hn::GetLane(hn::SumOfLanes(d32, sums[t]));
    store_int8_sums(block, input, first_token + t, row, 1, &total, output);
  }
}

template <std::size_t Span, unsigned Bits>
void multiply_int8_range(const PackedMatrixView& matrix, std::size_t first, std::size_t last, const PackedInput& input,
                         const BlockOutput& output) {
  constexpr std::size_t kTileTokens = 4;
  const ByteGather<Span, Bits> gather(matrix.layout.format());
  for_each_block(matrix, first, last, input.tokens(), output,
                 [&](const PackedBlock& block, const BlockOutput& part) HWY_ATTR {
                   for (std::size_t r = 0; r < block.rows; ++r) {
                     std::size_t t = 0;
                     for (; t + kTileTokens <= input.tokens(); t += kTileTokens) {
                       multiply_int8_row<Span, Bits, kTileTokens>(block, gather, r, input, t, part);
                     }
                     for (; t < input.tokens(); ++t) multiply_int8_row<Span, Bits, 1>(block, gather, r, input, t, part);
                   }
                 });
}

// The kernel of span m / n; a group of m = 2^bits inputs is at least as long as the span.
template <std::size_t Span>
BlockKernel int8_kernel_of_span(std::size_t bits) {
  switch (bits) {
    case 1:
      if constexpr (Span <= 2) return multiply_int8_range<Span, 1>;
      break;
    case 2:
      if constexpr (Span <= 4) return multiply_int8_range<Span, 2>;
      break;
    case 3:
      return multiply_int8_range<Span, 3>;
    case 4:
      return multiply_int8_range<Span, 4>;
    default:
      break;
  }
  return nullptr;
}

inline BlockKernel int8_kernel(const PackedFormat& format) {
  if (format.dense()) return multiply_int8_range<1, 0>;
  if (!std::has_single_bit(format.n) || !std::has_single_bit(format.m)) return nullptr;
  switch (format.m / format.n) {
    case 2:
      return int8_kernel_of_span<2>(format.index_bits());
    case 4:
      return int8_kernel_of_span<4>(format.index_bits());
    case 8:
      return int8_kernel_of_span<8>(format.index_bits());
    default:
      return nullptr;
  }
}

#endif

}  // namespace
}  // namespace flame::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
