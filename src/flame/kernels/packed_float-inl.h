// Kernels for f32 and bf16 values: a vector of positions gathers the tokens' inputs by table look-up, then one
// multiply-add. Included by packed_kernels.cc once for each instruction set.
#if defined(FLAME_KERNELS_PACKED_FLOAT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLAME_KERNELS_PACKED_FLOAT_INL_H_
#undef FLAME_KERNELS_PACKED_FLOAT_INL_H_
#else
#define FLAME_KERNELS_PACKED_FLOAT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "flame/kernels/packed_avx512_bf16-inl.h"
#include "flame/kernels/packed_block.h"
#include "flame/kernels/registers-inl.h"
#include "flame/kernels/widen-inl.h"

HWY_BEFORE_NAMESPACE();
namespace flame::kernels::HWY_NAMESPACE {
namespace {

const hwy::HWY_NAMESPACE::ScalableTag<float> kFloats;
const hwy::HWY_NAMESPACE::RebindToUnsigned<decltype(kFloats)> kWords;
using Floats = hwy::HWY_NAMESPACE::Vec<decltype(kFloats)>;
using Words = hwy::HWY_NAMESPACE::Vec<decltype(kWords)>;
constexpr std::size_t kFloatLanes = HWY_LANES(float);

// Bits bytes as one number. Three of them in one copy would be stored and loaded again, and wait for it.
template <unsigned Bits>
FLAME_INLINE std::uint64_t load_eight_fields(const std::byte* position) {
  if constexpr (Bits == 3) {
    return load_eight_fields<2>(position) | static_cast<std::uint64_t>(position[2]) << 16;
  } else {
    std::uint64_t eight = 0;
    std::memcpy(&eight, position, Bits);
    return eight;
  }
}

// Unpacks the `count` position fields of a row's short last chunk, `string_bytes` bytes, into a byte each.
#if HWY_TARGET == HWY_AVX3_DL
template <unsigned Bits>
class FieldUnpacker {
 public:
  FLAME_ATTR FieldUnpacker(std::size_t, std::size_t string_bytes) : string_(string_bytes) {}

  FLAME_INLINE void unpack(const std::byte* fields, std::byte* bytes) const {
    if constexpr (Bits > 0) {
      const __m512i field = _mm512_set1_epi8((1 << Bits) - 1);
      _mm512_storeu_si512(bytes, _mm512_and_si512(string_.unpack(fields), field));
    }
  }

 private:
  StringUnpacker<std::max(Bits, 1U), false> string_;
};
#else
template <unsigned Bits>
FLAME_INLINE void unpack_string(const std::byte* fields, std::size_t count, std::byte* bytes) {
  if constexpr (Bits > 0) {
    std::size_t k = 0;
    const auto unpack_eight = [&](std::uint64_t eight) {
      eight = spread_fields<Bits>(eight);
      std::memcpy(bytes + k, &eight, sizeof(eight));
    };
    for (; k + 8 <= count; k += 8) unpack_eight(load_eight_fields<Bits>(fields + k / 8 * Bits));
    if (k < count) {
      std::uint64_t eight = 0;
      std::memcpy(&eight, fields + k / 8 * Bits, ((count - k) * Bits + 7) / 8);
      unpack_eight(eight);
    }
  }
}

template <unsigned Bits>
class FieldUnpacker {
 public:
  FieldUnpacker(std::size_t count, std::size_t) : count_(count) {}

  FLAME_INLINE void unpack(const std::byte* fields, std::byte* bytes) const {
    unpack_string<Bits>(fields, count_, bytes);
  }

 private:
  std::size_t count_;
};
#endif

// Picks each lane's input. Span = m / n: a vector of kept values stands for Span vectors of inputs, its tables. Lane
// j's group begins at input j / n * m of them, and lies inside one table (AVX-512: one pair of tables), because m
// divides it.
template <std::size_t Span, unsigned Bits>
class FloatGather {
  static constexpr std::size_t kTable = HWY_TARGET <= HWY_AVX3 ? 2 * kFloatLanes : kFloatLanes;
  static constexpr unsigned kPlaneBits = Bits == 3 ? 2 : Bits;
  static constexpr std::size_t kPlaneBytes = kPackedChunk / 8 * kPlaneBits;

 public:
  FLAME_ATTR explicit FloatGather(const PackedFormat& format) {
    HWY_ALIGN std::uint32_t base[kFloatLanes];
    // j / n * m, without divisions: n and m are powers of two.
    const unsigned log_n = static_cast<unsigned>(std::countr_zero(format.n));
    const unsigned log_m = static_cast<unsigned>(std::countr_zero(format.m));
    for (unsigned j = 0; j < kFloatLanes; ++j) {
      base[j] = static_cast<std::uint32_t>((j >> log_n << log_m) % kTable);
    }
    base_ = hwy::HWY_NAMESPACE::Load(kWords, base);
  }

  // Where the fields of the values from `first` on of a whole chunk lie: the same for all rows.
  struct PlanePlace {
    std::size_t byte = 0;
    Words shift;
    std::size_t high_byte = 0;
    Words high_shift;
  };
  FLAME_INLINE PlanePlace place(std::size_t first) const {
    namespace hn = hwy::HWY_NAMESPACE;
    const Words lanes_past_a_byte = hn::ShiftRight<3>(hn::Iota(kWords, 0));
    PlanePlace place;
    place.high_byte = kPlaneBytes + first % 8;
    // Single bits: lanes 8 to 15, where there are so many, take the next bit of the same bytes.
    place.high_shift = hn::Add(lanes_past_a_byte, hn::Set(kWords, static_cast<std::uint32_t>(first / 8)));
    if constexpr (Bits == 1) {
      place.byte = first % 8;
      place.shift = place.high_shift;
    } else {
      place.byte = first % kPlaneBytes;
      place.shift = hn::Set(kWords, static_cast<std::uint32_t>(kPlaneBits * (first / kPlaneBytes)));
    }
    return place;
  }

  // Indices into the tables of the values at `place` in a row's planes.
  FLAME_INLINE Words positions(const std::byte* planes, const PlanePlace& place) const {
    namespace hn = hwy::HWY_NAMESPACE;
    const Words bytes = Bits == 1 ? widen_eight_bytes(planes + place.byte) : widen_bytes(planes + place.byte);
    Words indices = hn::OrAnd(base_, hn::Shr(bytes, place.shift), hn::Set(kWords, (1U << kPlaneBits) - 1U));
    if constexpr (Bits == 3) {
      const Words high = hn::ShiftLeft<2>(widen_eight_bytes(planes + place.high_byte));
      indices = hn::OrAnd(indices, hn::Shr(high, place.high_shift), hn::Set(kWords, 4U));
    }
    return indices;
  }

  // The same from fields that have a byte each.
  FLAME_INLINE Words positions_of_bytes(const std::byte* fields) const {
    return hwy::HWY_NAMESPACE::Or(widen_bytes(fields), base_);
  }

  // The inputs that `positions` pick from the tables.
  static FLAME_INLINE Floats gather(const Floats (&tables)[Span], Words positions) {
#if HWY_TARGET <= HWY_AVX3
    return Floats{gather_floats(tables, positions.raw)};
#else
    namespace hn = hwy::HWY_NAMESPACE;
    const auto indices = hn::IndicesFromVec(kFloats, positions);
    Floats picked = hn::TableLookupLanes(tables[0], indices);
    for (std::size_t table = 1; table < Span; ++table) {
      const auto mine = hn::Not(hn::FirstN(kFloats, table * kFloatLanes / Span));
      picked = hn::IfThenElse(mine, hn::TableLookupLanes(tables[table], indices), picked);
    }
    return picked;
#endif
  }

 private:
  static FLAME_INLINE Words widen_bytes(const std::byte* bytes) {
    const hwy::HWY_NAMESPACE::Rebind<std::uint8_t, decltype(kFloats)> d8;
    return hwy::HWY_NAMESPACE::PromoteTo(kWords,
                                         hwy::HWY_NAMESPACE::LoadU(d8, reinterpret_cast<const std::uint8_t*>(bytes)));
  }

  // Eight bytes, once, or twice where there are 16 lanes.
  static FLAME_INLINE Words widen_eight_bytes(const std::byte* bytes) {
#if HWY_TARGET <= HWY_AVX3
    std::uint64_t word = 0;
    std::memcpy(&word, bytes, sizeof(word));
    return Words{_mm512_cvtepu8_epi32(_mm_set1_epi64x(static_cast<long long>(word)))};
#else
    return widen_bytes(bytes);
#endif
  }

  Words base_;
};

// Dense: the inputs as they lie.
template <>
class FloatGather<1, 0> {
 public:
  struct PlanePlace {};
  FLAME_ATTR explicit FloatGather(const PackedFormat&) {}
  static FLAME_INLINE PlanePlace place(std::size_t) { return {}; }
  static FLAME_INLINE Words positions(const std::byte*, const PlanePlace&) { return hwy::HWY_NAMESPACE::Zero(kWords); }
  static FLAME_INLINE Words positions_of_bytes(const std::byte*) { return hwy::HWY_NAMESPACE::Zero(kWords); }
  static FLAME_INLINE Floats gather(const Floats (&tables)[1], Words) { return tables[0]; }
};

// Writes the sums over the lanes of Rows x Tokens vectors. The order of additions is the same for every place.
template <std::size_t Rows, std::size_t Tokens>
FLAME_INLINE void store_lane_sums(const Floats (&sums)[Rows * Tokens], float* output, std::size_t stride) {
#if HWY_TARGET <= HWY_AVX3
  __m512 raw[Rows * Tokens];
  unroll<Rows * Tokens>([&](auto i) FLAME_INLINE_LAMBDA { raw[i] = sums[i].raw; });
  store_totals<Rows, Tokens>(sum_each(raw), output, stride);
#else
  namespace hn = hwy::HWY_NAMESPACE;
  unroll<Rows * Tokens>([&](auto i) FLAME_INLINE_LAMBDA {
    output[i / Rows * stride + i % Rows] = hn::GetLane(hn::SumOfLanes(kFloats, sums[i]));
  });
#endif
}

// Rows x Tokens sums over one block. sums[t * Rows + r] takes a row's kept values in order, whatever the tile.
template <typename Element, std::size_t Span, unsigned Bits, std::size_t Rows, std::size_t Tokens>
FLAME_INLINE void multiply_float_tile(const PackedBlock& block, const FloatGather<Span, Bits>& gather,
                                      std::size_t first_row, const PackedInput& input, std::size_t first_token,
                                      const BlockOutput& output) {
  namespace hn = hwy::HWY_NAMESPACE;
  constexpr std::size_t kVectors = kPackedChunk / kFloatLanes;
  constexpr std::size_t kValueBytes = kPackedChunk * sizeof(Element);
  constexpr std::size_t kPositionBytes = kPackedChunk * Bits / 8;
  constexpr std::size_t kVectorBytes = kFloatLanes * sizeof(Element);
  // What is prefetched beside one vector of every row: a share of the tile's values and positions in a chunk. In a
  // whole block they lie in one run.
  constexpr bool kOneRun = Rows == kPackedBlockRows;
  constexpr std::size_t kValueShare = Rows * (kValueBytes + (kOneRun ? kPositionBytes : 0)) / kVectors;
  constexpr std::size_t kPositionShare = kOneRun ? 0 : (Rows * kPositionBytes + kVectors - 1) / kVectors;
  const PackedLayout& layout = block.layout;
  Floats sums[Rows * Tokens];
  unroll<Rows * Tokens>([&](auto i) FLAME_INLINE_LAMBDA { sums[i] = hn::Zero(kFloats); });

  // `picks_of(r)` are row r's indices into the tables of the kept values from `first` on; `prefetch(r)` comes before.
  const auto add_vector = [&](std::size_t first, const std::byte* values, std::size_t value_stride, auto&& prefetch,
                              auto&& picks_of) FLAME_INLINE_LAMBDA {
    Floats tables[Tokens][Span];
    unroll<Tokens * Span>([&](auto i) FLAME_INLINE_LAMBDA {
      const float* token = input.floats(first_token + i / Span) + first * Span;
      tables[i / Span][i % Span] = hn::LoadU(kFloats, token + i % Span * kFloatLanes);
    });
    unroll<Rows>([&](auto r) FLAME_INLINE_LAMBDA {
      prefetch(r);
      const Floats weights = load_widened(kFloats, reinterpret_cast<const Element*>(values + r * value_stride));
      const Words picks = picks_of(r);
      unroll<Tokens>([&](auto t) FLAME_INLINE_LAMBDA {
        Floats& sum = sums[t * Rows + r];
        sum = hn::MulAdd(weights, gather.gather(tables[t], picks), sum);
      });
    });
  };

  const std::size_t whole_chunks = layout.kept() / kPackedChunk;
  const std::byte* chunk_start = block.bytes;
  for (std::size_t chunk = 0; chunk < whole_chunks; ++chunk) {
    const std::byte* values = chunk_start + first_row * kValueBytes;
    const std::byte* planes = chunk_start + block.rows * kValueBytes + first_row * kPositionBytes;
    chunk_start += block.rows * (kValueBytes + kPositionBytes);
    for (std::size_t v = 0; v < kVectors; ++v) {
      const std::size_t k = v * kFloatLanes;
      const typename FloatGather<Span, Bits>::PlanePlace plane_place = gather.place(k);
      const std::byte* ahead = values + v * kValueShare;
      const std::byte* planes_ahead = planes + v * kPositionShare;
      add_vector(
          chunk * kPackedChunk + k, values + v * kVectorBytes, kValueBytes,
          [&](auto r) FLAME_INLINE_LAMBDA {
            prefetch_share<kValueShare, Rows, r()>(ahead);
            prefetch_share<kPositionShare, Rows, r()>(planes_ahead);
          },
          [&](std::size_t r)
              FLAME_INLINE_LAMBDA { return gather.positions(planes + r * kPositionBytes, plane_place); });
    }
  }
#if HWY_TARGET <= HWY_AVX3
  end_of_loop(sums);
#endif
  if (whole_chunks < layout.chunks()) {
    const std::size_t rest = layout.chunk_values(whole_chunks);
    const std::size_t value_bytes = rest * sizeof(Element);
    const std::size_t position_bytes = layout.index_bytes_of(rest);
    const std::byte* values = chunk_start + first_row * value_bytes;
    const std::byte* strings = chunk_start + block.rows * value_bytes + first_row * position_bytes;
    HWY_ALIGN Element padded[Rows][kPackedChunk];
    HWY_ALIGN std::byte fields[Rows][kPackedChunk] = {};
    const FieldUnpacker<Bits> unpacker(rest, position_bytes);
    // One line beside each vector and each string: of the rows' values, and in a whole block of their positions, which
    // follow.
    LinePrefetcher<> prefetch(values, Rows * (value_bytes + (kOneRun ? position_bytes : 0)));
    for (std::size_t r = 0; r < Rows; ++r) {
      prefetch.next();
      unpacker.unpack(strings + r * position_bytes, fields[r]);
    }
    std::size_t value_stride = value_bytes;
    if (rest % kFloatLanes != 0) {
      for (std::size_t r = 0; r < Rows; ++r) {
        std::memcpy(padded[r], values + r * value_bytes, value_bytes);
        std::fill(padded[r] + rest, std::end(padded[r]), Element{});
      }
      values = reinterpret_cast<const std::byte*>(padded);
      value_stride = sizeof(padded[0]);
    }
    for (std::size_t k = 0; k < rest; k += kFloatLanes) {
      add_vector(
          whole_chunks * kPackedChunk + k, values + k * sizeof(Element), value_stride,
          [&](auto) FLAME_INLINE_LAMBDA { prefetch.next(); },
          [&](std::size_t r) FLAME_INLINE_LAMBDA { return gather.positions_of_bytes(fields[r] + k); });
    }
  }
  store_lane_sums<Rows, Tokens>(sums, output.values + first_token * output.stride + first_row, output.stride);
}

template <typename Element, std::size_t Span, unsigned Bits>
FLAME_INLINE void multiply_float_block(const PackedBlock& block, const FloatGather<Span, Bits>& gather,
                                       const PackedInput& input, const BlockOutput& output) {
  // As many sums as there are registers for.
  constexpr std::size_t kRows = HWY_TARGET <= HWY_AVX3 ? 16 : 4;
  constexpr std::size_t kTileRows = HWY_TARGET <= HWY_AVX3 ? 4 : 2;
  constexpr std::size_t kTileTokens = HWY_TARGET <= HWY_AVX3 ? 4 : 2;
  std::size_t t = 0;
  for (; t + kTileTokens <= input.tokens(); t += kTileTokens) {
    std::size_t r = 0;
    for (; r + kTileRows <= block.rows; r += kTileRows) {
      multiply_float_tile<Element, Span, Bits, kTileRows, kTileTokens>(block, gather, r, input, t, output);
    }
    for (; r < block.rows; ++r) {
      multiply_float_tile<Element, Span, Bits, 1, kTileTokens>(block, gather, r, input, t, output);
    }
  }
  for (; t < input.tokens(); ++t) {
    std::size_t r = 0;
    for (; r + kRows <= block.rows; r += kRows) {
      multiply_float_tile<Element, Span, Bits, kRows, 1>(block, gather, r, input, t, output);
    }
    for (; r < block.rows; ++r) {
      multiply_float_tile<Element, Span, Bits, 1, 1>(block, gather, r, input, t, output);
    }
  }
}

template <typename Element, std::size_t Span, unsigned Bits>
FLAME_ATTR void multiply_float_range(const PackedMatrixView& matrix, std::size_t first, std::size_t last,
                                     const PackedInput& input, const BlockOutput& output) {
  const FloatGather<Span, Bits> gather(matrix.layout.format());
  for_each_block(matrix, first, last, input.tokens(), output,
                 [&](const PackedBlock& block, const BlockOutput& part)
                     FLAME_ATTR { multiply_float_block<Element, Span, Bits>(block, gather, input, part); });
}

// The kernel of span m / n; a group of m = 2^bits inputs is at least as long as the span.
template <typename Element, std::size_t Span>
BlockKernel float_kernel_of_span(std::size_t bits) {
  switch (bits) {
    case 1:
      if constexpr (Span <= 2) return multiply_float_range<Element, Span, 1>;
      break;
    case 2:
      if constexpr (Span <= 4) return multiply_float_range<Element, Span, 2>;
      break;
    case 3:
      return multiply_float_range<Element, Span, 3>;
    case 4:
      return multiply_float_range<Element, Span, 4>;
    default:
      break;
  }
  return nullptr;
}

template <typename Element>
BlockKernel float_kernel(const PackedFormat& format) {
  if (format.dense()) return multiply_float_range<Element, 1, 0>;
#if HWY_TARGET == HWY_SCALAR
  return nullptr;
#else
#if HWY_TARGET == HWY_AVX3_DL
  if constexpr (std::is_same_v<Element, BFloat16>) {
    if (const BlockKernel kernel = sparse_bf16_kernel(format); kernel != nullptr) return kernel;
  }
#endif
  const std::size_t table = HWY_TARGET <= HWY_AVX3 ? 16 : kFloatLanes;
  if (!std::has_single_bit(format.n) || !std::has_single_bit(format.m) || format.m > table) return nullptr;
  switch (format.m / format.n) {
    case 2:
      return float_kernel_of_span<Element, 2>(format.index_bits());
    case 4:
      return float_kernel_of_span<Element, 4>(format.index_bits());
    case 8:
      return float_kernel_of_span<Element, 8>(format.index_bits());
    default:
      return nullptr;
  }
#endif
}

}  // namespace
}  // namespace flame::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
