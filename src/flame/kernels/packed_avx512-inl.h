// The int8 and int4 kernels for AVX-512 with VNNI and VBMI (Highway's AVX3_DL): 64 kept values at a time. A broadcast
// load, a rotation and a ternary operation turn their packed positions into indices, byte permutes gather the tokens'
// codes, and vpdpbusd multiplies and adds. Included by packed_kernels.cc once for each instruction set.
#if defined(FLAME_KERNELS_PACKED_AVX512_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLAME_KERNELS_PACKED_AVX512_INL_H_
#undef FLAME_KERNELS_PACKED_AVX512_INL_H_
#else
#define FLAME_KERNELS_PACKED_AVX512_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "flame/base/data_type.h"
#include "flame/kernels/packed_block.h"
#include "flame/kernels/packed_float-inl.h"
#include "flame/kernels/unroll.h"

HWY_BEFORE_NAMESPACE();
namespace flame::kernels::HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_AVX3_DL

// This version of Highway names AVX-VNNI where it checks for AVX512-VNNI.
HWY_PUSH_ATTRIBUTES("avx512vnni")

// For lambdas: an attribute of their own takes the place of the pushed ones under clang.
#undef FLAME_VNNI_ATTR
#define FLAME_VNNI_ATTR __attribute__((target(HWY_TARGET_STR ",avx512vnni")))

// Bytes between a kernel's reads and its prefetches: past the hardware's own prefetchers, which stop at page ends.
constexpr std::size_t kPrefetchBytes = 4096;

// (a & b) | c, and (a & b) ^ c, as truth tables of vpternlogd.
constexpr int kAndOr = 0xEA;
constexpr int kAndXor = 0x6A;

// Unpacks the fields of a short last chunk, a string of Bits bits each, into bytes. In every 64-bit word lie the Bits
// bytes of its eight fields; a multishift then moves field i to byte i.
template <unsigned Bits>
class StringUnpacker {
 public:
  // The first `count` bytes from `position` on may be read. Above a field stand bits of its neighbours: to be masked.
  static HWY_INLINE __m512i unpack(const std::byte* position, std::size_t count) {
    const __m512i packed = _mm512_maskz_loadu_epi8((__mmask64{1} << count) - 1, position);
    const __m512i words = _mm512_permutexvar_epi8(_mm512_load_si512(kTables.bytes), packed);
    return _mm512_multishift_epi64_epi8(_mm512_load_si512(kTables.shifts), words);
  }

 private:
  struct Tables {
    alignas(64) std::uint8_t bytes[64];
    alignas(64) std::uint8_t shifts[64];
  };
  static constexpr Tables make_tables() {
    Tables tables = {};
    for (unsigned i = 0; i < 64; ++i) {
      tables.bytes[i] = static_cast<std::uint8_t>(i % 8 < Bits ? i / 8 * Bits + i % 8 : 0);
      tables.shifts[i] = static_cast<std::uint8_t>(i % 8 * Bits);
    }
    return tables;
  }
  static constexpr Tables kTables = make_tables();
};

// Unpacks a plane of 64 fields of Bits bits (1, 2 or 4) into bytes: 8 * Bits bytes, broadcast, of which each 64-bit
// word rotates its own fields down, to begin at bit Low of a byte.
template <unsigned Bits, unsigned Low = 0>
class PlaneUnpacker {
 public:
  // Around a field stand bits of others: to be masked.
  static HWY_INLINE __m512i unpack(const std::byte* plane) {
    __m512i repeated;
    if constexpr (Bits == 1) {
      std::uint64_t word = 0;
      std::memcpy(&word, plane, sizeof(word));
      repeated = _mm512_set1_epi64(static_cast<long long>(word));
    } else if constexpr (Bits == 2) {
      repeated = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(plane)));
    } else {
      repeated = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(plane)));
    }
    return _mm512_rorv_epi64(repeated, _mm512_load_si512(kRotations.words));
  }

 private:
  struct Rotations {
    alignas(64) std::uint64_t words[8];
  };
  static constexpr Rotations make_rotations() {
    Rotations rotations = {};
    for (unsigned word = 0; word < 8; ++word) rotations.words[word] = (word / Bits * Bits - Low) % 64;
    return rotations;
  }
  static constexpr Rotations kRotations = make_rotations();
};

// Gathers 64 codes. Span = m / n: 64 kept values stand for 64 * Span inputs. A permute over two registers picks from
// 128 of them, so 128 / Span neighbouring lanes share a pair of registers.
template <std::size_t Span, unsigned Bits>
class CodeGather {
 public:
  explicit CodeGather(const PackedFormat& format) {
    alignas(64) std::uint8_t base[64];
    // j / n * m, without 64 divisions: n and m are powers of two.
    const unsigned log_n = static_cast<unsigned>(std::countr_zero(format.n));
    const unsigned log_m = static_cast<unsigned>(std::countr_zero(format.m));
    for (unsigned j = 0; j < 64; ++j) base[j] = static_cast<std::uint8_t>((j >> log_n << log_m) % 128);
    base_ = _mm512_load_si512(base);
  }

  // Indices into the tables, of a whole chunk's planes.
  HWY_INLINE __m512i positions(const std::byte* planes) const {
    const __m512i low = _mm512_set1_epi8((1 << kPlaneBits) - 1);
    __m512i indices = _mm512_ternarylogic_epi32(PlaneUnpacker<kPlaneBits>::unpack(planes), low, base_, kAndOr);
    if constexpr (Bits == 3) {
      const __m512i high = PlaneUnpacker<1, 2>::unpack(planes + 16);
      indices = _mm512_ternarylogic_epi32(high, _mm512_set1_epi8(4), indices, kAndOr);
    }
    return indices;
  }
  // The same of a short last chunk, whose positions take `bytes` bytes.
  HWY_INLINE __m512i positions_tail(const std::byte* string, std::size_t bytes) const {
    const __m512i field = _mm512_set1_epi8((1 << Bits) - 1);
    return _mm512_ternarylogic_epi32(StringUnpacker<Bits>::unpack(string, bytes), field, base_, kAndOr);
  }

  static HWY_INLINE __m512i gather(const __m512i (&tables)[Span], __m512i positions) {
    __m512i picked = _mm512_permutex2var_epi8(tables[0], positions, tables[1]);
    FLAME_UNROLL
    for (std::size_t pair = 1; pair < Span / 2; ++pair) {
      const __mmask64 lanes = ~__mmask64{0} << (pair * 128 / Span);
      picked = _mm512_mask_blend_epi8(lanes, picked,
                                      _mm512_permutex2var_epi8(tables[2 * pair], positions, tables[2 * pair + 1]));
    }
    return picked;
  }

 private:
  static constexpr unsigned kPlaneBits = Bits == 3 ? 2 : Bits;
  __m512i base_;
};

// Dense: the codes as they lie.
template <>
class CodeGather<1, 0> {
 public:
  explicit CodeGather(const PackedFormat&) {}
  HWY_INLINE __m512i positions(const std::byte*) const { return _mm512_setzero_si512(); }
  HWY_INLINE __m512i positions_tail(const std::byte*, std::size_t) const { return _mm512_setzero_si512(); }
  static HWY_INLINE __m512i gather(const __m512i (&tables)[1], __m512i) { return tables[0]; }
};

// Sums over the lanes of up to 16 vectors: a transposition that adds on the way.
template <std::size_t Count>
HWY_INLINE __m512i sum_integer_lanes(const __m512i (&sums)[Count]) {
  __m512i fours[4];
  for (std::size_t i = 0; i < 4; ++i) {
    __m512i pairs[2];
    for (std::size_t p = 0; p < 2; ++p) {
      const std::size_t at = 4 * i + 2 * p;
      const __m512i a = at < Count ? sums[at < Count ? at : 0] : _mm512_setzero_si512();
      const __m512i b = at + 1 < Count ? sums[at + 1 < Count ? at + 1 : 0] : _mm512_setzero_si512();
      pairs[p] = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    }
    fours[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(pairs[0], pairs[1]), _mm512_unpackhi_epi64(pairs[0], pairs[1]));
  }
  const auto halve = [](__m512i a, __m512i b) FLAME_VNNI_ATTR {
    return _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xDD));
  };
  return halve(halve(fours[0], fours[1]), halve(fours[2], fours[3]));
}

// Rows x Tokens exact sums over one int8 block. With a code offset of 128 the products are 128 * weight too large: the
// same instruction takes that away again, through the negated weights.
template <std::size_t Span, unsigned Bits, std::size_t Rows, std::size_t Tokens, bool Offset>
HWY_INLINE void multiply_vnni_tile(const PackedBlock& block, const CodeGather<Span, Bits>& gather,
                                   std::size_t first_row, const PackedInput& input, std::size_t first_token,
                                   const BlockOutput& output) {
  const PackedLayout& layout = block.layout;
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(128));
  __m512i sums[Rows * Tokens];
  __m512i corrections[Rows];
  for (__m512i& sum : sums) sum = _mm512_setzero_si512();
  for (__m512i& correction : corrections) correction = _mm512_setzero_si512();

  const auto add_products = [&](std::size_t r, __m512i weights, __m512i positions,
                                const __m512i(&tables)[Tokens][Span]) FLAME_VNNI_ATTR {
    FLAME_UNROLL
    for (std::size_t t = 0; t < Tokens; ++t) {
      __m512i& sum = sums[t * Rows + r];
      sum = _mm512_dpbusd_epi32(sum, gather.gather(tables[t], positions), weights);
    }
    if constexpr (Offset && Tokens == 1) {
      // One token leaves no registers for separate corrections of 16 rows.
      sums[r] = _mm512_dpbusd_epi32(sums[r], offset, _mm512_sub_epi8(_mm512_setzero_si512(), weights));
    } else if constexpr (Offset) {
      corrections[r] = _mm512_dpbusd_epi32(corrections[r], offset, weights);
    }
  };
  const auto load_tables = [&](std::size_t chunk, __m512i(&tables)[Tokens][Span]) FLAME_VNNI_ATTR {
    for (std::size_t t = 0; t < Tokens; ++t) {
      const std::uint8_t* codes = input.codes(first_token + t) + chunk * kPackedChunk * Span;
      FLAME_UNROLL
      for (std::size_t i = 0; i < Span; ++i) tables[t][i] = _mm512_loadu_si512(codes + i * 64);
    }
  };

  const std::size_t whole_chunks = layout.kept() / kPackedChunk;
  const std::size_t chunk_bytes = block.rows * (kPackedChunk + kPackedChunk * Bits / 8);
  const std::byte* chunk_start = block.bytes + block.rows * sizeof(float);
  for (std::size_t chunk = 0; chunk < whole_chunks; ++chunk, chunk_start += chunk_bytes) {
    const std::byte* values = chunk_start + first_row * kPackedChunk;
    const std::byte* positions = chunk_start + block.rows * kPackedChunk + first_row * (kPackedChunk * Bits / 8);
    __m512i tables[Tokens][Span];
    load_tables(chunk, tables);
    FLAME_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
      _mm_prefetch(reinterpret_cast<const char*>(values + r * kPackedChunk) + kPrefetchBytes, _MM_HINT_T0);
      if (Bits > 0 && r * Bits % 8 < Bits) {
        _mm_prefetch(reinterpret_cast<const char*>(positions + r * (kPackedChunk * Bits / 8)) + kPrefetchBytes,
                     _MM_HINT_T0);
      }
      add_products(r, _mm512_loadu_si512(values + r * kPackedChunk),
                   gather.positions(positions + r * (kPackedChunk * Bits / 8)), tables);
    }
  }
  if (whole_chunks < layout.chunks()) {
    const std::size_t rest = layout.chunk_values(whole_chunks);
    const __mmask64 lanes = (__mmask64{1} << rest) - 1;
    __m512i tables[Tokens][Span];
    load_tables(whole_chunks, tables);
    const PackedChunkPlace place = chunk_place(layout, block.rows, first_row, whole_chunks);
    const std::size_t position_bytes = layout.index_bytes_of(rest);
    FLAME_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
      add_products(r, _mm512_maskz_loadu_epi8(lanes, block.bytes + place.values + r * rest),
                   gather.positions_tail(block.bytes + place.positions + r * position_bytes, position_bytes), tables);
    }
  }

  if constexpr (Offset && Tokens > 1) {
    for (std::size_t i = 0; i < Rows * Tokens; ++i) sums[i] = _mm512_sub_epi32(sums[i], corrections[i % Rows]);
  }
  alignas(64) std::int32_t totals[16];
  _mm512_store_si512(totals, sum_integer_lanes(sums));
  for (std::size_t t = 0; t < Tokens; ++t) {
    store_int8_sums(block, input, first_token + t, first_row, Rows, totals + t * Rows, output);
  }
}

// Rows of a block that one pass over the tokens' tables serves: as many as leave registers for the tables.
constexpr std::size_t rows_at_once(std::size_t span) { return span >= 8 ? 8 : 16; }

template <std::size_t Span, unsigned Bits, bool Offset>
HWY_INLINE void multiply_vnni_block(const PackedBlock& block, const CodeGather<Span, Bits>& gather,
                                    const PackedInput& input, const BlockOutput& output) {
  constexpr std::size_t kRows = rows_at_once(Span);
  std::size_t t = 0;
  for (; t + 4 <= input.tokens(); t += 4) {
    std::size_t r = 0;
    for (; r + 4 <= block.rows; r += 4) {
      multiply_vnni_tile<Span, Bits, 4, 4, Offset>(block, gather, r, input, t, output);
    }
    for (; r < block.rows; ++r) multiply_vnni_tile<Span, Bits, 1, 4, Offset>(block, gather, r, input, t, output);
  }
  for (; t < input.tokens(); ++t) {
    std::size_t r = 0;
    for (; r + kRows <= block.rows; r += kRows) {
      multiply_vnni_tile<Span, Bits, kRows, 1, Offset>(block, gather, r, input, t, output);
    }
    for (; r < block.rows; ++r) multiply_vnni_tile<Span, Bits, 1, 1, Offset>(block, gather, r, input, t, output);
  }
}

template <std::size_t Span, unsigned Bits>
void multiply_vnni_range(const PackedMatrixView& matrix, std::size_t first, std::size_t last, const PackedInput& input,
                         const BlockOutput& output) {
  const CodeGather<Span, Bits> gather(matrix.layout.format());
  const bool offset = input.code_offset() != 0;
  for_each_block(matrix, first, last, output, [&](const PackedBlock& block, const BlockOutput& part) FLAME_VNNI_ATTR {
    if (offset) return multiply_vnni_block<Span, Bits, true>(block, gather, input, part);
    multiply_vnni_block<Span, Bits, false>(block, gather, input, part);
  });
}

// The scales of an int4 block as floats, and how a vector takes its lanes' scales: 4 kept values a lane share one.
class Int4Scales {
 public:
  explicit Int4Scales(const PackedLayout& layout) : groups_(layout.scale_groups()) {
    // A vector reads 16 scales from its first one on.
    widened_.resize(kPackedBlockRows * groups_ + 16);
    const PackedFormat& format = layout.format();
    const std::size_t span = format.m / format.n;
    alignas(64) std::int32_t offsets[16];
    for (std::size_t lane = 0; lane < 16; ++lane) {
      offsets[lane] = static_cast<std::int32_t>(lane * 4 * span / format.int4_group);
    }
    offsets_ = _mm512_load_si512(offsets);
    groups_per_chunk_ = kPackedChunk * span / format.int4_group;
  }

  void widen(const PackedBlock& block) {
    const std::size_t count = block.rows * groups_;
    for (std::size_t i = 0; i < count; i += 16) {
      const auto mask = static_cast<__mmask32>(count - i >= 16 ? 0xffffU : (1U << (count - i)) - 1U);
      const __m512i halves = _mm512_maskz_loadu_epi16(mask, block.bytes + i * sizeof(Float16));
      _mm512_storeu_ps(widened_.data() + i, _mm512_cvtph_ps(_mm512_castsi512_si256(halves)));
    }
  }

  HWY_INLINE __m512 of(std::size_t row, std::size_t chunk) const {
    return _mm512_permutexvar_ps(offsets_,
                                 _mm512_loadu_ps(widened_.data() + row * groups_ + chunk * groups_per_chunk_));
  }

 private:
  std::size_t groups_;
  std::size_t groups_per_chunk_;
  std::vector<float> widened_;
  __m512i offsets_;
};

// Rows x Tokens sums over one int4 block: integers within a lane and a chunk, scaled and added as floats.
template <std::size_t Span, unsigned Bits, std::size_t Rows, std::size_t Tokens>
HWY_INLINE void multiply_int4_tile(const PackedBlock& block, const CodeGather<Span, Bits>& gather,
                                   const Int4Scales& scales, std::size_t first_row, const PackedInput& input,
                                   std::size_t first_token, const BlockOutput& output) {
  const PackedLayout& layout = block.layout;
  const __m512i low_half = _mm512_set1_epi8(0x0f);
  const __m512i eight = _mm512_set1_epi8(8);
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(input.code_offset()));
  __m512 sums[Rows * Tokens];
  for (__m512& sum : sums) sum = _mm512_setzero_ps();

  // Weights plus 8 are the unsigned operand, codes the signed one; 8 * code is taken away again.
  const auto add_products = [&](std::size_t r, std::size_t chunk, __m512i packed_weights, __m512i positions,
                                const __m512i(&tables)[Tokens][Span]) FLAME_VNNI_ATTR {
    const __m512i weights = _mm512_ternarylogic_epi32(packed_weights, low_half, eight, kAndXor);
    const __m512 scale = scales.of(first_row + r, chunk);
    for (std::size_t t = 0; t < Tokens; ++t) {
      const __m512i codes = gather.gather(tables[t], positions);
      const __m512i excess = _mm512_dpbusd_epi32(_mm512_setzero_si512(), eight, codes);
      const __m512i products = _mm512_dpbusd_epi32(_mm512_setzero_si512(), weights, codes);
      sums[t * Rows + r] =
          _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(products, excess)), scale, sums[t * Rows + r]);
    }
  };
  const auto load_tables = [&](std::size_t chunk, __m512i(&tables)[Tokens][Span]) FLAME_VNNI_ATTR {
    for (std::size_t t = 0; t < Tokens; ++t) {
      const std::uint8_t* codes = input.codes(first_token + t) + chunk * kPackedChunk * Span;
      FLAME_UNROLL
      for (std::size_t i = 0; i < Span; ++i) {
        tables[t][i] = _mm512_xor_si512(_mm512_loadu_si512(codes + i * 64), sign);
      }
    }
  };

  constexpr std::size_t kValueBytes = kPackedChunk / 2;
  const std::size_t whole_chunks = layout.kept() / kPackedChunk;
  const std::size_t chunk_bytes = block.rows * (kValueBytes + kPackedChunk * Bits / 8);
  const std::byte* chunk_start = block.bytes + block.rows * layout.row_scale_bytes();
  for (std::size_t chunk = 0; chunk < whole_chunks; ++chunk, chunk_start += chunk_bytes) {
    const std::byte* values = chunk_start + first_row * kValueBytes;
    const std::byte* positions = chunk_start + block.rows * kValueBytes + first_row * (kPackedChunk * Bits / 8);
    __m512i tables[Tokens][Span];
    load_tables(chunk, tables);
    FLAME_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
      if (r % 2 == 0) {
        _mm_prefetch(reinterpret_cast<const char*>(values + r * kValueBytes) + kPrefetchBytes, _MM_HINT_T0);
      }
      if (Bits > 0 && r * Bits % 8 < Bits) {
        _mm_prefetch(reinterpret_cast<const char*>(positions + r * (kPackedChunk * Bits / 8)) + kPrefetchBytes,
                     _MM_HINT_T0);
      }
      add_products(r, chunk, PlaneUnpacker<4>::unpack(values + r * kValueBytes),
                   gather.positions(positions + r * (kPackedChunk * Bits / 8)), tables);
    }
  }
  if (whole_chunks < layout.chunks()) {
    const std::size_t rest = layout.chunk_values(whole_chunks);
    __m512i tables[Tokens][Span];
    load_tables(whole_chunks, tables);
    const PackedChunkPlace place = chunk_place(layout, block.rows, first_row, whole_chunks);
    const std::size_t value_bytes = layout.value_bytes_of(rest);
    const std::size_t position_bytes = layout.index_bytes_of(rest);
    FLAME_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
      add_products(r, whole_chunks,
                   StringUnpacker<4>::unpack(block.bytes + place.values + r * value_bytes, value_bytes),
                   gather.positions_tail(block.bytes + place.positions + r * position_bytes, position_bytes), tables);
    }
  }

  Floats as_floats[Rows * Tokens];
  for (std::size_t i = 0; i < Rows * Tokens; ++i) as_floats[i] = Floats{sums[i]};
  alignas(64) float totals[Rows * Tokens];
  sum_lanes(as_floats, totals);
  for (std::size_t t = 0; t < Tokens; ++t) {
    float* results = output.values + (first_token + t) * output.stride + first_row;
    for (std::size_t r = 0; r < Rows; ++r) results[r] = totals[t * Rows + r] * input.scale(first_token + t);
  }
}

template <std::size_t Span, unsigned Bits>
void multiply_int4_range(const PackedMatrixView& matrix, std::size_t first, std::size_t last, const PackedInput& input,
                         const BlockOutput& output) {
  constexpr std::size_t kRows = rows_at_once(Span);
  const CodeGather<Span, Bits> gather(matrix.layout.format());
  Int4Scales scales(matrix.layout);
  for_each_block(matrix, first, last, output, [&](const PackedBlock& block, const BlockOutput& part) FLAME_VNNI_ATTR {
    scales.widen(block);
    std::size_t t = 0;
    for (; t + 4 <= input.tokens(); t += 4) {
      std::size_t r = 0;
      for (; r + 4 <= block.rows; r += 4) {
        multiply_int4_tile<Span, Bits, 4, 4>(block, gather, scales, r, input, t, part);
      }
      for (; r < block.rows; ++r) {
        multiply_int4_tile<Span, Bits, 1, 4>(block, gather, scales, r, input, t, part);
      }
    }
    for (; t < input.tokens(); ++t) {
      std::size_t r = 0;
      for (; r + kRows <= block.rows; r += kRows) {
        multiply_int4_tile<Span, Bits, kRows, 1>(block, gather, scales, r, input, t, part);
      }
      for (; r < block.rows; ++r) {
        multiply_int4_tile<Span, Bits, 1, 1>(block, gather, scales, r, input, t, part);
      }
    }
  });
}

template <template <std::size_t, unsigned> class Kernel>
BlockKernel kernel_of_pattern(const PackedFormat& format) {
  if (format.dense()) return Kernel<1, 0>::kMultiply;
  if (!std::has_single_bit(format.n) || !std::has_single_bit(format.m)) return nullptr;
  const std::size_t bits = format.index_bits();
  switch (format.m / format.n) {
    case 2:
      return bits == 1   ? Kernel<2, 1>::kMultiply
             : bits == 2 ? Kernel<2, 2>::kMultiply
             : bits == 3 ? Kernel<2, 3>::kMultiply
                         : Kernel<2, 4>::kMultiply;
    case 4:
      return bits == 2 ? Kernel<4, 2>::kMultiply : bits == 3 ? Kernel<4, 3>::kMultiply : Kernel<4, 4>::kMultiply;
    case 8:
      return bits == 3 ? Kernel<8, 3>::kMultiply : Kernel<8, 4>::kMultiply;
    default:
      return nullptr;
  }
}

template <std::size_t Span, unsigned Bits>
struct Int8Kernel {
  static constexpr BlockKernel kMultiply = multiply_vnni_range<Span, Bits>;
};

template <std::size_t Span, unsigned Bits>
struct Int4Kernel {
  static constexpr BlockKernel kMultiply = multiply_int4_range<Span, Bits>;
};

inline BlockKernel vnni_int8_kernel(const PackedFormat& format) { return kernel_of_pattern<Int8Kernel>(format); }

inline BlockKernel vnni_int4_kernel(const PackedFormat& format) {
  // A lane's four values, and a group of n, must share a scale.
  const std::size_t lane_inputs = 4U * format.m / format.n;
  if (!format.dense() && format.int4_group % std::max<std::size_t>(lane_inputs, format.m) != 0) return nullptr;
  return kernel_of_pattern<Int4Kernel>(format);
}

HWY_POP_ATTRIBUTES

#endif  // AVX3_DL

}  // namespace
}  // namespace flame::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
