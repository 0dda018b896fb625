// Kernels for f32 and bf16 values: a vector of positions gathers the tokens' inputs by table look-up, then one
// multiply-add. Included by packed_kernels.cc once for each instruction set.
#if defined(FLAME_KERNELS_PACKED_FLOAT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLAME_KERNELS_PACKED_FLOAT_INL_H_
#undef FLAME_KERNELS_PACKED_FLOAT_INL_H_
#else
#define FLAME_KERNELS_PACKED_FLOAT_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "flame/kernels/packed_block.h"
#include "flame/kernels/unroll.h"
#include "flame/kernels/widen-inl.h"

HWY_BEFORE_NAMESPACE();
namespace flame::kernels::HWY_NAMESPACE {
namespace {

const hwy::HWY_NAMESPACE::ScalableTag<float> kFloats;
const hwy::HWY_NAMESPACE::RebindToUnsigned<decltype(kFloats)> kWords;
using Floats = hwy::HWY_NAMESPACE::Vec<decltype(kFloats)>;
using Words = hwy::HWY_NAMESPACE::Vec<decltype(kWords)>;
constexpr std::size_t kFloatLanes = HWY_LANES(float);

template <unsigned Bytes>
HWY_INLINE std::uint64_t load_bytes(const std::byte* position) {
  if constexpr (Bytes == 6) {  // one copy of six bytes would go through the stack
    return load_bytes<4>(position) | load_bytes<2>(position + 4) << 32;
  } else {
    std::uint64_t word = 0;
    std::memcpy(&word, position, Bytes);
    return word;
  }
}

// Picks each lane's input. Span = m / n: a vector of kept values stands for Span vectors of inputs, its tables. Lane
// j's group begins at input j / n * m of them, and lies inside one table (AVX-512: one pair of tables), because m
// divides it.
template <std::size_t Span, unsigned Bits>
class FloatGather {
  static constexpr std::size_t kTable = HWY_TARGET <= HWY_AVX3 ? 2 * kFloatLanes : kFloatLanes;

 public:
  explicit FloatGather(const PackedFormat& format) {
    HWY_ALIGN std::uint32_t base[kFloatLanes];
    HWY_ALIGN std::uint32_t shift[kFloatLanes];
    for (std::size_t j = 0; j < kFloatLanes; ++j) {
      const std::size_t input = j / format.n * format.m;
      base[j] = static_cast<std::uint32_t>(input % kTable);
      shift[j] = static_cast<std::uint32_t>(kFloatLanes * Bits > 32 ? j * Bits % 8 : j * Bits);
    }
    namespace hn = hwy::HWY_NAMESPACE;
    base_ = hn::Load(kWords, base);
    shift_ = hn::Load(kWords, shift);
    field_ = hn::Set(kWords, (1U << Bits) - 1U);
#if HWY_TARGET <= HWY_AVX3
    // Lane j's bits begin in byte j * Bits / 8 of the eight that every half of a 128-bit block holds.
    HWY_ALIGN std::uint8_t bytes[64];
    for (std::size_t j = 0; j < 16; ++j) {
      for (std::size_t i = 0; i < 4; ++i) {
        const std::size_t byte = j * Bits / 8 + i;
        bytes[4 * j + i] = static_cast<std::uint8_t>(byte < 8 ? byte : 0x80);
      }
    }
    bytes_ = _mm512_load_si512(bytes);
#endif
  }

  // Positions of vector `v` of a chunk whose position bits begin at `bits`: indices into the tables.
  HWY_INLINE Words positions(const std::byte* bits, std::size_t v) const {
#if HWY_TARGET <= HWY_AVX3
    __m512i word;
    if constexpr (Bits <= 2) {
      word = _mm512_set1_epi32(static_cast<int>(load_bytes<2 * Bits>(bits + v * 2 * Bits)));
    } else {
      word = _mm512_set1_epi64(static_cast<long long>(load_bytes<2 * Bits>(bits + v * 2 * Bits)));
      word = _mm512_shuffle_epi8(word, bytes_);
    }
    // (word >> shift & field) | base
    return Words{_mm512_ternarylogic_epi32(_mm512_srlv_epi32(word, shift_.raw), field_.raw, base_.raw, 0xEA)};
#else
    namespace hn = hwy::HWY_NAMESPACE;
    constexpr unsigned kVectorBits = kFloatLanes * Bits;
    constexpr unsigned kBytes = kVectorBits % 8 == 0 ? kVectorBits / 8 : kVectorBits / 8 + 1;
    const std::size_t first = v * kVectorBits;
    const auto word = static_cast<std::uint32_t>(load_bytes<kBytes>(bits + first / 8) >> (first % 8));
    return hn::Or(hn::And(hn::Shr(hn::Set(kWords, word), shift_), field_), base_);
#endif
  }

  // The inputs that `positions` pick from the tables.
  static HWY_INLINE Floats gather(const Floats (&tables)[Span], Words positions) {
#if HWY_TARGET <= HWY_AVX3
    __m512 picked = _mm512_permutex2var_ps(tables[0].raw, positions.raw, tables[1].raw);
    FLAME_UNROLL
    for (std::size_t pair = 1; pair < Span / 2; ++pair) {
      // 32 / Span neighbouring lanes share a pair of tables.
      const auto lanes = static_cast<__mmask16>(0xffffU << (pair * 32 / Span));
      const __m512 other = _mm512_permutex2var_ps(tables[2 * pair].raw, positions.raw, tables[2 * pair + 1].raw);
      picked = _mm512_mask_blend_ps(lanes, picked, other);
    }
    return Floats{picked};
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
#if HWY_TARGET <= HWY_AVX3
  __m512i bytes_;
#endif
  Words base_;
  Words shift_;
  Words field_;
};

// Dense: the inputs as they lie.
template <>
class FloatGather<1, 0> {
 public:
  explicit FloatGather(const PackedFormat&) {}
  HWY_INLINE Words positions(const std::byte*, std::size_t) const { return hwy::HWY_NAMESPACE::Zero(kWords); }
  static HWY_INLINE Floats gather(const Floats (&tables)[1], Words) { return tables[0]; }
};

// Sums over the lanes of each vector. The order of additions is the same for every place in the array.
template <std::size_t Count>
HWY_INLINE void sum_lanes(const Floats (&sums)[Count], float* output) {
#if HWY_TARGET <= HWY_AVX3
  // A transposition that adds on the way: pairs, then fours, then halves.
  __m512 fours[4];
  for (std::size_t i = 0; i < 4; ++i) {
    __m512 pairs[2];
    for (std::size_t p = 0; p < 2; ++p) {
      const std::size_t at = 4 * i + 2 * p;
      const __m512 a = at < Count ? sums[at < Count ? at : 0].raw : _mm512_setzero_ps();
      const __m512 b = at + 1 < Count ? sums[at + 1 < Count ? at + 1 : 0].raw : _mm512_setzero_ps();
      pairs[p] = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    }
    const __m512d a = _mm512_castps_pd(pairs[0]);
    const __m512d b = _mm512_castps_pd(pairs[1]);
    fours[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
  }
  const auto halve = [](__m512 a, __m512 b) HWY_ATTR {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
  };
  HWY_ALIGN float all[16];
  _mm512_store_ps(all, halve(halve(fours[0], fours[1]), halve(fours[2], fours[3])));
  std::copy_n(all, Count, output);
#else
  namespace hn = hwy::HWY_NAMESPACE;
  for (std::size_t i = 0; i < Count; ++i) output[i] = hn::GetLane(hn::SumOfLanes(kFloats, sums[i]));
#endif
}

constexpr std::size_t kFloatPrefetchBytes = 4096;

// Rows x Tokens sums over one block. sums[t * Rows + r] takes a row's kept values in order, whatever the tile.
template <typename Element, std::size_t Span, unsigned Bits, std::size_t Rows, std::size_t Tokens>
HWY_INLINE void multiply_float_tile(const PackedBlock& block, const FloatGather<Span, Bits>& gather,
                                    std::size_t first_row, const PackedInput& input, std::size_t first_token,
                                    const BlockOutput& output) {
  namespace hn = hwy::HWY_NAMESPACE;
  constexpr std::size_t kVectors = kPackedChunk / kFloatLanes;
  const PackedLayout& layout = block.layout;
  Floats sums[Rows * Tokens];
  for (Floats& sum : sums) sum = hn::Zero(kFloats);

  const auto add_vector = [&](std::size_t chunk, std::size_t v, const std::byte* values, std::size_t value_stride,
                              const std::byte* positions, std::size_t position_stride) HWY_ATTR {
    const std::size_t first_input = (chunk * kPackedChunk + v * kFloatLanes) * Span;
    Floats tables[Tokens][Span];
    FLAME_UNROLL
    for (std::size_t t = 0; t < Tokens; ++t) {
      const float* token = input.floats(first_token + t) + first_input;
      FLAME_UNROLL
      for (std::size_t i = 0; i < Span; ++i) tables[t][i] = hn::LoadU(kFloats, token + i * kFloatLanes);
    }
    FLAME_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
      const auto* elements = reinterpret_cast<const Element*>(values + r * value_stride) + v * kFloatLanes;
      if (v * kFloatLanes * sizeof(Element) % 64 == 0) {
        hwy::Prefetch(reinterpret_cast<const std::byte*>(elements) + kFloatPrefetchBytes);
      }
      const Floats weights = load_widened(kFloats, elements);
      const Words picks = gather.positions(positions + r * position_stride, v);
      FLAME_UNROLL
      for (std::size_t t = 0; t < Tokens; ++t) {
        sums[t * Rows + r] = hn::MulAdd(weights, gather.gather(tables[t], picks), sums[t * Rows + r]);
      }
    }
  };

  const std::size_t whole_chunks = layout.kept() / kPackedChunk;
  for (std::size_t chunk = 0; chunk < whole_chunks; ++chunk) {
    const PackedChunkPlace place = chunk_place(layout, block.rows, first_row, chunk);
    for (std::size_t v = 0; v < kVectors; ++v) {
      add_vector(chunk, v, block.bytes + place.values, kPackedChunk * sizeof(Element), block.bytes + place.positions,
                 kPackedChunk * Bits / 8);
    }
  }
  if (whole_chunks < layout.chunks()) {
    constexpr std::size_t kPositionBytes = kPackedChunk * Bits / 8;
    const std::size_t rest = layout.chunk_values(whole_chunks);
    HWY_ALIGN Element values[Rows][kPackedChunk] = {};
    HWY_ALIGN std::byte positions[Rows][kPositionBytes + 1] = {};
    for (std::size_t r = 0; r < Rows; ++r) {
      const PackedChunkPlace place = chunk_place(layout, block.rows, first_row + r, whole_chunks);
      std::memcpy(values[r], block.bytes + place.values, rest * sizeof(Element));
      std::memcpy(positions[r], block.bytes + place.positions, layout.index_bytes_of(rest));
    }
    for (std::size_t v = 0; v * kFloatLanes < rest; ++v) {
      add_vector(whole_chunks, v, reinterpret_cast<const std::byte*>(values), sizeof(values[0]), positions[0],
                 sizeof(positions[0]));
    }
  }

  HWY_ALIGN float totals[Rows * Tokens];
  sum_lanes(sums, totals);
  for (std::size_t t = 0; t < Tokens; ++t) {
    std::copy_n(totals + t * Rows, Rows, output.values + (first_token + t) * output.stride + first_row);
  }
}

template <typename Element, std::size_t Span, unsigned Bits>
HWY_INLINE void multiply_float_block(const PackedBlock& block, const FloatGather<Span, Bits>& gather,
                                     const PackedInput& input, const BlockOutput& output) {
  // As many sums as there are registers for.
  constexpr std::size_t kRows = HWY_TARGET <= HWY_AVX3 ? (Span >= 8 ? 8 : 16) : 4;
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
void multiply_float_range(const PackedMatrixView& matrix, std::size_t first, std::size_t last, const PackedInput& input,
                          const BlockOutput& output) {
  const FloatGather<Span, Bits> gather(matrix.layout.format());
  for_each_block(matrix, first, last, output, [&](const PackedBlock& block, const BlockOutput& part) HWY_ATTR {
    multiply_float_block<Element, Span, Bits>(block, gather, input, part);
  });
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
