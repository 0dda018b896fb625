// The bf16 kernels of patterns with m / n of 4 and 8 for AVX-512 with VBMI (Highway's AVX3_DL): 64 kept values of a row
// at a time. One byte permute and one multishift unpack their positions, a byte each, into a register whose 32-bit
// lanes are indices of vpermi2ps: only its five low bits count, so that a shift by eight bits brings up the next
// vector's. Included by packed_kernels.cc once for each instruction set.
#if defined(FLAME_KERNELS_PACKED_AVX512_BF16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLAME_KERNELS_PACKED_AVX512_BF16_INL_H_
#undef FLAME_KERNELS_PACKED_AVX512_BF16_INL_H_
#else
#define FLAME_KERNELS_PACKED_AVX512_BF16_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "flame/base/data_type.h"
#include "flame/kernels/packed_avx512-inl.h"
#include "flame/kernels/packed_block.h"
#include "flame/kernels/registers-inl.h"

HWY_BEFORE_NAMESPACE();
namespace flame::kernels::HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_AVX3_DL

constexpr std::size_t kFloatsAVector = 16;
constexpr std::size_t kVectorsAChunk = kPackedChunk / kFloatsAVector;

// Byte v of lane i belongs to the chunk's value 16 v + i.
constexpr unsigned lane_of_byte(unsigned byte) { return byte / 4; }
constexpr unsigned value_of_byte(unsigned byte) { return byte % 4 * 16 + byte / 4; }

// Unpacks the positions of a chunk of one row to indices into the tables of inputs.
template <std::size_t Span, unsigned Bits>
class LanePositions {
 public:
  // Of a row's planes in a whole chunk.
  static FLAME_INLINE __m512i of_planes(const std::byte* planes) {
    const __m512i bytes = load_planes(planes);
    __m512i fields = pick_bits(kPlaneBytes, kPlaneShifts, bytes);
    if constexpr (Bits == 3) {
      fields =
          _mm512_ternarylogic_epi32(fields, _mm512_set1_epi8(3), pick_bits(kHighBytes, kHighShifts, bytes), kSelect);
    }
    return indices(fields);
  }
  // Of a row's string in a short last chunk; `readable` are its bytes.
  static FLAME_INLINE __m512i of_string(const std::byte* string, __mmask32 readable) {
    const __m512i bytes = _mm512_castsi256_si512(_mm256_maskz_loadu_epi8(readable, string));
    return indices(pick_bits(kStringBytes, kStringShifts, bytes));
  }

 private:
  // Where b is set a, elsewhere c, as a truth table of vpternlogd.
  static constexpr int kSelect = 0xE2;

  static FLAME_INLINE __m512i load_planes(const std::byte* planes) {
    if constexpr (Bits == 2) {
      return _mm512_castsi128_si512(_mm_loadu_si128(reinterpret_cast<const __m128i*>(planes)));
    } else if constexpr (Bits == 3) {
      return _mm512_castsi256_si512(_mm256_maskz_loadu_epi64(7, planes));
    } else {
      return _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(planes)));
    }
  }
  // Byte d is the eight bits from bit shifts[d] on of its 64-bit word, of the bytes that `places` put there.
  static FLAME_INLINE __m512i pick_bits(const ByteTable& places, const ByteTable& shifts, __m512i bytes) {
    return _mm512_multishift_epi64_epi8(load_table(shifts), _mm512_permutexvar_epi8(load_table(places), bytes));
  }
  static FLAME_INLINE __m512i indices(__m512i fields) {
    return _mm512_ternarylogic_epi32(fields, _mm512_set1_epi8((1 << Bits) - 1), load_table(kBase), kAndOr);
  }

  static constexpr unsigned kLowBits = Bits == 3 ? 2 : Bits;
  template <typename Value>
  static constexpr ByteTable make_table(Value&& value) {
    ByteTable table = {};
    for (unsigned d = 0; d < 64; ++d) table.bytes[d] = static_cast<std::uint8_t>(value(d));
    return table;
  }
  static constexpr ByteTable kPlaneBytes = make_table([](unsigned d) { return value_of_byte(d) % (8 * kLowBits); });
  static constexpr ByteTable kPlaneShifts =
      make_table([](unsigned d) { return d % 8 * 8 + value_of_byte(d) / (8 * kLowBits) * kLowBits; });
  // The plane of high bits, which go to bit 2.
  static constexpr ByteTable kHighBytes = make_table([](unsigned d) { return 16 + value_of_byte(d) % 8; });
  static constexpr ByteTable kHighShifts =
      make_table([](unsigned d) { return (d % 8 * 8 + value_of_byte(d) / 8 + 62) % 64; });
  // Of a string: a 64-bit word holds two lanes, and for each v the two bytes in which their fields lie.
  static constexpr unsigned first_bit(unsigned d) { return Bits * (d % 8 / 2 * 16 + d / 8 * 2); }
  static constexpr ByteTable kStringBytes = make_table([](unsigned d) { return first_bit(d) / 8 + d % 2; });
  static constexpr ByteTable kStringShifts = make_table([](unsigned d) {
    const unsigned pair = d / 8 * 8 + d % 4 * 2;  // where the two bytes of byte d's field lie
    return d % 4 * 16 + first_bit(pair) % 8 + Bits * (lane_of_byte(d) % 2);
  });
  // A group's first input in its pair of tables.
  static constexpr ByteTable kBase = make_table([](unsigned d) {
    constexpr unsigned kKept = (1U << Bits) / Span;
    return (lane_of_byte(d) / kKept << Bits) % 32;
  });
};

struct alignas(64) HalfwordTable {
  std::uint16_t words[32];
};
// Sixteen values, or those of some lanes and zeros, as floats: to the upper halves of 32-bit lanes, zeros below. One
// permute does it.
constexpr HalfwordTable make_widening() {
  HalfwordTable table = {};
  for (unsigned i = 0; i < 32; ++i) table.words[i] = static_cast<std::uint16_t>(i / 2);
  return table;
}
constexpr HalfwordTable kWidening = make_widening();
FLAME_INLINE __m512 widen(__m256i words) {
  return _mm512_castsi512_ps(
      _mm512_maskz_permutexvar_epi16(0xaaaaaaaaU, _mm512_load_si512(&kWidening), _mm512_castsi256_si512(words)));
}
FLAME_INLINE __m512 load_values(const BFloat16* values) {
  return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(values)));
}
FLAME_INLINE __m512 load_some_values(const BFloat16* values, __mmask16 lanes) {
  return widen(_mm256_maskz_loadu_epi16(lanes, values));
}

// Rows x Tokens sums over one whole block, of which the first `stored` rows' are written. sums[t * Rows + r] takes a
// row's kept values in order, whatever the tile. A function of its own: inlined beside others it loses registers.
template <std::size_t Span, unsigned Bits, std::size_t Rows, std::size_t Tokens>
FLAME_ATTR __attribute__((noinline)) void multiply_sparse_bf16(const PackedBlock& block, std::size_t first_row,
                                                               std::size_t stored, const PackedInput& input,
                                                               std::size_t first_token, const BlockOutput& output) {
  using Positions = LanePositions<Span, Bits>;
  constexpr std::size_t kValueBytes = kPackedChunk * sizeof(BFloat16);
  constexpr std::size_t kPositionBytes = kPackedChunk * Bits / 8;
  constexpr std::size_t kVectorBytes = kFloatsAVector * sizeof(BFloat16);
  constexpr std::size_t kChunkBytes = kPackedBlockRows * (kValueBytes + kPositionBytes);
  constexpr bool kByRuns = Rows == kPackedBlockRows;
  const PackedLayout& layout = block.layout;
  __m512 sums[Rows * Tokens];
  unroll<Rows * Tokens>([&](auto i) FLAME_INLINE_LAMBDA { sums[i] = _mm512_setzero_ps(); });

  // A chunk's indices wait in the first-level cache: registers hold the sums and the tables.
  alignas(64) __m512i indices[Rows];
  // Adds vector v of the chunk that begins at value `first` of a row; `prefetch(r)` comes before row r, whose values
  // `load(r)` gives. All rows go through one vector before the next: rows one after the other, or half of them at a
  // time, need fewer loads, and get much less out of memory.
  const auto add_vector = [&](std::size_t first, std::size_t v, auto&& prefetch, auto&& load) FLAME_INLINE_LAMBDA {
    __m512 tables[Tokens][Span];
    unroll<Tokens * Span>([&](auto i) FLAME_INLINE_LAMBDA {
      const float* inputs = input.floats(first_token + i / Span) + (first + v * kFloatsAVector) * Span;
      tables[i / Span][i % Span] = _mm512_loadu_ps(inputs + i % Span * kFloatsAVector);
    });
    const __m512i shift = _mm512_set1_epi32(static_cast<int>(8 * v));
    unroll<Rows>([&](auto r) FLAME_INLINE_LAMBDA {
      prefetch(r);
      const __m512 weights = load(r);
      const __m512i picks = _mm512_srlv_epi32(indices[r], shift);
      unroll<Tokens>([&](auto t) FLAME_INLINE_LAMBDA {
        __m512& sum = sums[t * Rows + r];
        sum = _mm512_fmadd_ps(weights, gather_floats(tables[t], picks), sum);
      });
    });
  };

  const std::size_t whole_chunks = layout.kept() / kPackedChunk;
  const std::byte* chunk_start = block.bytes;
  for (std::size_t chunk = 0; chunk < whole_chunks; ++chunk) {
    const std::byte* values = chunk_start + first_row * kValueBytes;
    const std::byte* planes = chunk_start + kPackedBlockRows * kValueBytes + first_row * kPositionBytes;
    if constexpr (kByRuns) fetch_run(chunk_start, chunk_start + kChunkBytes, block.end);
    chunk_start += kChunkBytes;
    unroll<Rows>([&](auto r) FLAME_INLINE_LAMBDA {
      if constexpr (!kByRuns) prefetch_share<Rows * kPositionBytes, Rows, r()>(planes);
      indices[r] = Positions::of_planes(planes + r * kPositionBytes);
    });
    asm volatile("" : "+m"(indices));
#pragma GCC unroll 1
    for (std::size_t v = 0; v < kVectorsAChunk; ++v) {
      const std::byte* ahead = values + Rows * (v * kVectorBytes);
      const std::byte* column = values + v * kVectorBytes;
      add_vector(
          chunk * kPackedChunk, v,
          [&](auto r) FLAME_INLINE_LAMBDA {
            if constexpr (!kByRuns) prefetch_share<Rows * kVectorBytes, Rows, r()>(ahead);
          },
          [&](auto r)
              FLAME_INLINE_LAMBDA { return load_values(reinterpret_cast<const BFloat16*>(column + r * kValueBytes)); });
    }
  }
  end_of_loop(sums);

  if (whole_chunks < layout.chunks()) {
    if constexpr (kByRuns) {
      fetch_run(chunk_start, block.bytes + kPackedBlockRows * layout.row_bytes(), block.end);
    }
    const std::size_t rest = layout.chunk_values(whole_chunks);
    const std::size_t value_bytes = rest * sizeof(BFloat16);
    const std::size_t position_bytes = layout.index_bytes_of(rest);
    const auto readable = static_cast<__mmask32>((std::uint64_t{1} << position_bytes) - 1);
    const std::byte* values = chunk_start + first_row * value_bytes;
    const std::byte* strings = chunk_start + kPackedBlockRows * value_bytes + first_row * position_bytes;
    LinePrefetcher<!kByRuns> prefetch(values, Rows * value_bytes);
    const auto prefetch_next = [&](auto) FLAME_INLINE_LAMBDA { prefetch.next(); };
    unroll<Rows>([&](auto r) FLAME_INLINE_LAMBDA {
      prefetch_next(r);
      indices[r] = Positions::of_string(strings + r * position_bytes, readable);
    });
    asm volatile("" : "+m"(indices));
#pragma GCC unroll 1
    for (std::size_t v = 0; v * kFloatsAVector < rest; ++v) {
      const std::size_t left = std::min(rest - v * kFloatsAVector, kFloatsAVector);
      const auto lanes = static_cast<__mmask16>((std::uint32_t{1} << left) - 1);
      const std::byte* column = values + v * kVectorBytes;
      add_vector(whole_chunks * kPackedChunk, v, prefetch_next, [&](auto r) FLAME_INLINE_LAMBDA {
        return load_some_values(reinterpret_cast<const BFloat16*>(column + r * value_bytes), lanes);
      });
    }
  }
  store_some_totals<Rows, Tokens>(sum_each(sums), stored, output.values + first_token * output.stride + first_row,
                                  output.stride);
}

template <std::size_t Span, unsigned Bits>
FLAME_ATTR void multiply_sparse_bf16_range(const PackedMatrixView& matrix, std::size_t first, std::size_t last,
                                           const PackedInput& input, const BlockOutput& output) {
  constexpr std::size_t kTile = 4;
  thread_local std::vector<std::byte> filled_up;
  for_each_block(
      matrix, first, last, input.tokens(), output, [&](const PackedBlock& block, const BlockOutput& part) FLAME_ATTR {
        const PackedBlock whole = fill_up_block(block, filled_up);
        std::size_t t = 0;
        for (; t + kTile <= input.tokens(); t += kTile) {
          for (std::size_t r = 0; r < block.rows; r += kTile) {
            multiply_sparse_bf16<Span, Bits, kTile, kTile>(whole, r, std::min(kTile, block.rows - r), input, t, part);
          }
        }
        for (; t < input.tokens(); ++t) {
          multiply_sparse_bf16<Span, Bits, kPackedBlockRows, 1>(whole, 0, block.rows, input, t, part);
        }
      });
}

// For bf16 with m / n of 4 and 8. f32, and bf16 with m / n = 2, wait for memory more than for instructions, and the
// kernels of packed_float-inl.h, which need more of these, get more out of it.
inline BlockKernel sparse_bf16_kernel(const PackedFormat& format) {
  if (!std::has_single_bit(format.n) || !std::has_single_bit(format.m)) return nullptr;
  const std::size_t bits = format.index_bits();
  switch (format.m / format.n) {
    case 4:
      return bits == 2   ? multiply_sparse_bf16_range<4, 2>
             : bits == 3 ? multiply_sparse_bf16_range<4, 3>
                         : multiply_sparse_bf16_range<4, 4>;
    case 8:
      return bits == 3 ? multiply_sparse_bf16_range<8, 3> : multiply_sparse_bf16_range<8, 4>;
    default:
      return nullptr;
  }
}

#endif  // AVX3_DL

}  // namespace
}  // namespace flame::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
