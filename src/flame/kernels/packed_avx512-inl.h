// The int8 kernels for AVX-512 with VNNI and VBMI (Highway's AVX3_DL): 64 kept values at a time. A broadcast
// load, a rotation and a ternary operation turn their packed positions into indices, byte permutes gather the tokens'
// codes, and vpdpbusd multiplies and adds. Included by packed_kernels.cc once for each instruction set.
//
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
#include <type_traits>
#include <vector>

#include "flame/base/data_type.h"
#include "flame/kernels/packed_block.h"
#include "flame/kernels/registers-inl.h"

HWY_BEFORE_NAMESPACE();
namespace flame::kernels::HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_AVX3_DL

// a & b | c and (a & b) ^ c, as truth tables of vpternlogd.
constexpr int kAndOr = 0xEA;
constexpr int kAndXor = 0x6A;

// A short last chunk of up to so many values a row is computed two rows at a time, half a vector each.
constexpr std::size_t kPairedValues = 32;

constexpr std::size_t kVectorWords = 8;

struct alignas(64) ByteTable {
  std::uint8_t bytes[64];
};
struct alignas(64) WordTable {
  std::uint64_t words[8];
};
FLAME_INLINE __m512i load_table(const ByteTable& table) { return _mm512_load_si512(&table); }
FLAME_INLINE __m512i load_table(const WordTable& table) { return _mm512_load_si512(&table); }

// Unpacks the fields of a short last chunk, one string of Bits bits each for every row, into bytes: of one row, or of
// two rows into half a vector each. In every 64-bit word lie the Bits bytes of its eight fields; a multishift then
// moves field i to byte i.
template <unsigned Bits, bool Paired>
class StringUnpacker {
 public:
  StringUnpacker() = default;
  // Rows lie `row_bytes` apart; the first string begins `skipped` bytes after the first row.
  FLAME_ATTR explicit StringUnpacker(std::size_t row_bytes, std::size_t skipped = 0) {
    constexpr __mmask64 kSecondRow = Paired ? 0xffffffff00000000U : 0;
    const __m512i first_rows = load_table(kBytes);
    bytes_ = _mm512_mask_add_epi8(first_rows, kSecondRow, first_rows, _mm512_set1_epi8(static_cast<char>(row_bytes)));
    readable_ = ~__mmask64{0} >> (64 - (Paired ? 2 : 1) * row_bytes + skipped);
  }

  // Above a field stand bits of its neighbours: to be masked.
  FLAME_INLINE __m512i unpack(const std::byte* strings) const {
    const __m512i packed = _mm512_maskz_loadu_epi8(readable_, strings);
    return _mm512_multishift_epi64_epi8(load_table(kShifts), _mm512_permutexvar_epi8(bytes_, packed));
  }

 private:
  static constexpr ByteTable make_bytes() {
    ByteTable table = {};
    for (unsigned i = 0; i < 64; ++i) {
      const unsigned eight = i / 8 % (Paired ? 4 : 8);
      table.bytes[i] = static_cast<std::uint8_t>(i % 8 < Bits ? eight * Bits + i % 8 : 0);
    }
    return table;
  }
  static constexpr ByteTable make_shifts() {
    ByteTable shifts = {};
    for (unsigned i = 0; i < 64; ++i) shifts.bytes[i] = static_cast<std::uint8_t>(i % 8 * Bits);
    return shifts;
  }
  static constexpr ByteTable kBytes = make_bytes();
  static constexpr ByteTable kShifts = make_shifts();

  __m512i bytes_;
  __mmask64 readable_ = 0;
};

// The 8 * Bits bytes of a plane, as often as they fit.
template <unsigned Bits>
FLAME_INLINE __m512i repeat_plane(const std::byte* plane) {
  if constexpr (Bits == 1) {
    std::uint64_t word = 0;
    std::memcpy(&word, plane, sizeof(word));
    return _mm512_set1_epi64(static_cast<long long>(word));
  } else if constexpr (Bits == 2) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(plane)));
  } else {
    return _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(plane)));
  }
}

// A vector that stays in a register: the compiler would rather load a constant again in every row.
FLAME_INLINE __m512i held(__m512i vector) {
  asm("" : "+v"(vector));
  return vector;
}

// Unpacks a plane of 64 fields of Bits bits (1, 2 or 4) into bytes: 8 * Bits bytes, broadcast, of which each 64-bit
// word rotates its own fields down, to begin at bit Low of a byte.
template <unsigned Bits, unsigned Low = 0>
class PlaneUnpacker {
 public:
  FLAME_INLINE PlaneUnpacker() : rotations_(held(load_table(kRotations))) {}

  // Around a field stand bits of others: to be masked.
  FLAME_INLINE __m512i unpack(const std::byte* plane) const {
    return _mm512_rorv_epi64(repeat_plane<Bits>(plane), rotations_);
  }

 private:
  static constexpr WordTable make_rotations() {
    WordTable rotations = {};
    for (unsigned word = 0; word < kVectorWords; ++word) rotations.words[word] = (word / Bits * Bits - Low) % 64;
    return rotations;
  }
  static constexpr WordTable kRotations = make_rotations();

  __m512i rotations_;
};

// Gathers 64 codes. Span = m / n: 64 kept values stand for 64 * Span inputs, held in Span registers. A permute over two
// of them picks from 128 inputs, so 128 / Span neighbouring lanes share a pair. m = 2^Bits.
template <std::size_t Span, unsigned Bits>
class CodeGather {
 public:
  static constexpr std::size_t kTables = Span;
  // Registers that the first half of the lanes looks up in.
  static constexpr std::size_t kHalfTables = (Span + 1) / 2;

  FLAME_INLINE CodeGather()
      : base_(held(load_table(kBase))),
        low_mask_(held(_mm512_set1_epi8((1 << kLowBits) - 1))),
        high_mask_(held(_mm512_set1_epi8(4))) {}

  // Indices into the tables, of a whole chunk's planes.
  FLAME_INLINE __m512i positions(const std::byte* planes) const {
    if constexpr (Span == 1) {
      return _mm512_setzero_si512();
    } else {
      __m512i indices = _mm512_ternarylogic_epi32(low_plane_.unpack(planes), low_mask_, base_, kAndOr);
      if constexpr (Bits == 3) {
        indices = _mm512_ternarylogic_epi32(high_plane_.unpack(planes + 16), high_mask_, indices, kAndOr);
      }
      return indices;
    }
  }
  // The same of unpacked strings: one row's, or two rows' in half a vector each.
  template <bool Paired>
  static FLAME_INLINE __m512i positions_of_strings(__m512i fields) {
    const __m512i base = load_table(Paired ? kPairedBase : kBase);
    return _mm512_ternarylogic_epi32(fields, _mm512_set1_epi8((1 << Bits) - 1), base, kAndOr);
  }

  static FLAME_INLINE void load(const std::uint8_t* codes, __m512i (&tables)[kTables]) {
    unroll<kTables>([&](auto i) FLAME_INLINE_LAMBDA { tables[i] = _mm512_loadu_si512(codes + i * 64); });
  }
  // What half a vector of kept values looks up in, for both halves.
  static FLAME_INLINE void load_half(const std::uint8_t* codes, __m512i (&tables)[kHalfTables]) {
    if constexpr (Span == 1) {
      tables[0] = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
    } else {
      unroll<kHalfTables>([&](auto i) FLAME_INLINE_LAMBDA { tables[i] = _mm512_loadu_si512(codes + i * 64); });
    }
  }

  static FLAME_INLINE __m512i gather(const __m512i (&tables)[kTables], __m512i positions) {
    if constexpr (Span == 1) {
      return tables[0];
    } else if constexpr (Span == 2) {
      return _mm512_permutex2var_epi8(tables[0], positions, tables[1]);
    } else if constexpr (Span == 4) {
      const __m512i half = pick(0x00000000ffffffffU, tables, 0, positions);
      return pick(0xffffffff00000000U, tables, 2, half);
    } else {
      __m512i picked = pick(0x000000000000ffffU, tables, 0, positions);
      picked = pick(0x00000000ffff0000U, tables, 2, picked);
      picked = pick(0x0000ffff00000000U, tables, 4, picked);
      return pick(0xffff000000000000U, tables, 6, picked);
    }
  }
  static FLAME_INLINE __m512i gather_paired(const __m512i (&tables)[kHalfTables], __m512i positions) {
    if constexpr (Span == 1) {
      return tables[0];
    } else if constexpr (Span == 2) {
      return _mm512_permutexvar_epi8(positions, tables[0]);
    } else if constexpr (Span == 4) {
      return _mm512_permutex2var_epi8(tables[0], positions, tables[1]);
    } else {
      const __m512i half = pick(0x0000ffff0000ffffU, tables, 0, positions);
      return pick(0xffff0000ffff0000U, tables, 2, half);
    }
  }

 private:
  // Only `lanes` look up in a pair of tables; the others keep their indices, or what they have picked before. So
  // nothing has to be joined.
  template <std::size_t Count>
  static FLAME_INLINE __m512i pick(std::uint64_t lanes, const __m512i (&tables)[Count], std::size_t first,
                                   __m512i positions) {
    return _mm512_mask2_permutex2var_epi8(tables[first], positions, lanes, tables[first + 1]);
  }
  static constexpr ByteTable make_base(unsigned lanes) {
    ByteTable base = {};
    const unsigned n = (1U << Bits) / Span;
    for (unsigned j = 0; j < 64; ++j) base.bytes[j] = static_cast<std::uint8_t>((j % lanes / n << Bits) % 128);
    return base;
  }
  static constexpr ByteTable kBase = make_base(64);

 public:
  // A group's first input in its tables, for vectors of two rows.
  static constexpr ByteTable kPairedBase = make_base(32);

 private:
  static constexpr unsigned kLowBits = Bits == 0 ? 1 : Bits == 3 ? 2 : Bits;

  PlaneUnpacker<kLowBits> low_plane_;
  PlaneUnpacker<1, 2> high_plane_;
  __m512i base_;
  __m512i low_mask_;
  __m512i high_mask_;
};

// Writes Rows x Tokens exact sums, token by token in the lanes of `totals`: as they are, or scaled as output_value()
// does.
template <std::size_t Rows, std::size_t Tokens>
FLAME_INLINE void store_integer_sums(const PackedBlock& block, std::size_t first_row, const PackedInput& input,
                                     std::size_t first_token, __m512i totals, const BlockOutput& output) {
  if constexpr (Tokens == 1) {
    constexpr auto kLanes = static_cast<__mmask16>((1U << Rows) - 1U);
    const std::size_t place = first_token * output.stride + first_row;
    if (output.sums != nullptr) {
      _mm512_mask_storeu_epi32(output.sums + place, kLanes, totals);
      return;
    }
    const __m512 scales = _mm512_maskz_loadu_ps(kLanes, block.bytes + first_row * sizeof(float));
    const __m512 factors = _mm512_mul_ps(scales, _mm512_set1_ps(input.scale(first_token)));
    _mm512_mask_storeu_ps(output.values + place, kLanes, _mm512_mul_ps(_mm512_cvtepi32_ps(totals), factors));
  } else {
    alignas(64) std::int32_t all[16];
    _mm512_store_si512(all, totals);
    for (std::size_t t = 0; t < Tokens; ++t) {
      store_int8_sums(block, input, first_token + t, first_row, Rows, all + t * Rows, output);
    }
  }
}

// How the rows' short last chunk, if there is one, is read: kept values, and the strings of positions.
template <unsigned Bits>
class Tail {
 public:
  FLAME_ATTR explicit Tail(const PackedLayout& layout)
      : chunk_(layout.kept() / kPackedChunk), values_(layout.kept() % kPackedChunk) {
    if (values_ == 0) return;
    value_bytes_ = layout.value_bytes_of(values_);
    position_bytes_ = layout.index_bytes_of(values_);
    lone_positions_ = StringUnpacker<kFieldBits, false>(position_bytes_);
    row_ = first_bytes(values_);
    if (!paired()) return;
    paired_positions_ = StringUnpacker<kFieldBits, true>(position_bytes_);
    both_rows_ = first_bytes(2 * values_);
    spread_rows_ = row_ | row_ << 32;
    const __m512i lanes = load_table(kLanes);
    const auto past_first_row = static_cast<char>(values_ - kPairedValues);
    spread_ = _mm512_mask_add_epi8(lanes, 0xffffffff00000000U, lanes, _mm512_set1_epi8(past_first_row));
  }

  [[nodiscard]] bool empty() const { return values_ == 0; }
  [[nodiscard]] bool paired() const { return values_ <= kPairedValues; }
  [[nodiscard]] std::size_t chunk() const { return chunk_; }

  // The values, and the strings of positions, of the rows from `first_row` on of a block whose last chunk begins at
  // `chunk`.
  FLAME_INLINE const std::byte* values(const std::byte* chunk, std::size_t first_row) const {
    return chunk + first_row * value_bytes_;
  }
  FLAME_INLINE const std::byte* positions(const std::byte* chunk, std::size_t block_rows, std::size_t first_row) const {
    return chunk + block_rows * value_bytes_ + first_row * position_bytes_;
  }
  // For the lines of Rows rows' values from there on, and in a whole block of their positions, which follow; or none.
  template <std::size_t Rows, bool Any>
  FLAME_INLINE LinePrefetcher<Any> prefetcher(const std::byte* values) const {
    return {values, Rows * (value_bytes_ + (Rows == kPackedBlockRows ? position_bytes_ : 0))};
  }

  // int8 values of row r, or of rows r and r + 1; zeros past the rows' ends.
  template <bool Paired>
  FLAME_INLINE __m512i int8_values(const std::byte* rows, std::size_t r) const {
    if constexpr (Paired) {
      return _mm512_maskz_permutexvar_epi8(spread_rows_, spread_,
                                           _mm512_maskz_loadu_epi8(both_rows_, rows + r * values_));
    } else {
      return _mm512_maskz_loadu_epi8(row_, rows + r * values_);
    }
  }
  template <bool Paired>
  FLAME_INLINE __m512i position_fields(const std::byte* rows, std::size_t r) const {
    if constexpr (Paired) {
      return paired_positions_.unpack(rows + r * position_bytes_);
    } else {
      return lone_positions_.unpack(rows + r * position_bytes_);
    }
  }

 private:
  static __mmask64 first_bytes(std::size_t count) { return count == 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1; }

  static constexpr ByteTable make_lanes() {
    ByteTable table = {};
    for (unsigned i = 0; i < 64; ++i) table.bytes[i] = static_cast<std::uint8_t>(i);
    return table;
  }
  static constexpr unsigned kFieldBits = std::max(Bits, 1U);
  static constexpr ByteTable kLanes = make_lanes();

  std::size_t chunk_;
  std::size_t values_;
  std::size_t value_bytes_ = 0;
  std::size_t position_bytes_ = 0;
  StringUnpacker<kFieldBits, false> lone_positions_;
  StringUnpacker<kFieldBits, true> paired_positions_;
  __m512i spread_;
  __mmask64 row_ = 0;
  __mmask64 both_rows_ = 0;
  __mmask64 spread_rows_ = 0;
};

// Unsigned times signed bytes, added in fours to the 32-bit lanes of `sum`: to all of them, or to some.
struct AllLanes {};
FLAME_INLINE __m512i add_products(__m512i sum, AllLanes, __m512i unsigned_bytes, __m512i signed_bytes) {
  return _mm512_dpbusd_epi32(sum, unsigned_bytes, signed_bytes);
}
FLAME_INLINE __m512i add_products(__m512i sum, __mmask16 lanes, __m512i unsigned_bytes, __m512i signed_bytes) {
  return _mm512_mask_dpbusd_epi32(sum, lanes, unsigned_bytes, signed_bytes);
}

FLAME_INLINE __m512i twice_low_half(__m512i vector) { return _mm512_shuffle_i64x2(vector, vector, 0x44); }

// Calls add(r, values, indices, lanes) for the rows of a tile's short last chunk: `lanes` are those of row r.
// `values(paired, r)` gives the values of row r, or of two rows. Which half of a pair's vectors is a row's depends on
// its place in the block only, also where it is computed alone: so do the roundings of its sum.
template <std::size_t Span, unsigned Bits, std::size_t Rows, bool Paired, bool Prefetch, typename Values, typename Add>
FLAME_INLINE void for_each_tail_row(const Tail<Bits>& tail, std::size_t first_row, const std::byte* value_bytes,
                                    const std::byte* positions, Values&& values, Add&& add) {
  constexpr __mmask16 kHalves[] = {0x00ff, 0xff00};
  const auto indices = [&](__m512i fields) FLAME_INLINE_LAMBDA {
    return CodeGather<Span, Bits>::template positions_of_strings<Paired>(fields);
  };
  // Two lines for each vector are more than its bytes.
  LinePrefetcher<Prefetch> prefetch = tail.template prefetcher<Rows, Prefetch>(value_bytes);
  if constexpr (!Paired) {
    unroll<Rows>([&](auto r) FLAME_INLINE_LAMBDA {
      prefetch.next();
      prefetch.next();
      add(r, values(std::false_type(), r), indices(tail.template position_fields<false>(positions, r)), AllLanes());
    });
  } else if constexpr (Rows == 1) {
    prefetch.next();
    prefetch.next();
    const __m512i fields = twice_low_half(tail.template position_fields<false>(positions, 0));
    add(Constant<0>(), twice_low_half(values(std::false_type(), 0)), indices(fields), kHalves[first_row % 2]);
  } else {
    unroll<Rows / 2>([&](auto pair) FLAME_INLINE_LAMBDA {
      constexpr std::size_t kRow = 2 * pair();
      prefetch.next();
      const __m512i both = values(std::true_type(), kRow);
      const __m512i both_indices = indices(tail.template position_fields<true>(positions, kRow));
      prefetch.next();
      add(Constant<kRow>(), both, both_indices, kHalves[0]);
      add(Constant<kRow + 1>(), both, both_indices, kHalves[1]);
    });
  }
}

// Calls add(paired, tables of all tokens, gather) for a tile's short last chunk, `paired` a constant; `prepare(token,
// its tables)` comes after they are loaded.
template <std::size_t Span, unsigned Bits, std::size_t Tokens, typename Prepare, typename Add>
FLAME_INLINE void with_tail_tables(const Tail<Bits>& tail, const PackedInput& input, std::size_t first_token,
                                   Prepare&& prepare, Add&& add) {
  using Gather = CodeGather<Span, Bits>;
  const std::size_t first_code = tail.chunk() * kPackedChunk * Span;
  if (tail.paired()) {
    __m512i tables[Tokens][Gather::kHalfTables];
    unroll<Tokens>([&](auto t) FLAME_INLINE_LAMBDA {
      Gather::load_half(input.codes(first_token + t) + first_code, tables[t]);
      prepare(t, tables[t], __mmask16{0x00ff});
    });
    add(std::true_type(), tables,
        [](const auto& table, __m512i indices) FLAME_INLINE_LAMBDA { return Gather::gather_paired(table, indices); });
  } else {
    __m512i tables[Tokens][Span];
    unroll<Tokens>([&](auto t) FLAME_INLINE_LAMBDA {
      Gather::load(input.codes(first_token + t) + first_code, tables[t]);
      prepare(t, tables[t], AllLanes());
    });
    add(std::false_type(), tables,
        [](const auto& table, __m512i indices) FLAME_INLINE_LAMBDA { return Gather::gather(table, indices); });
  }
}

// Rows x Tokens exact sums over one int8 block. vpdpbusd wants one operand unsigned, so codes come with an offset of
// 128 unless none is negative, and the products are 128 * weight too large:
//   sparse, one token:    the same instruction takes that away again, through the negated weights;
//   sparse, more tokens:  sums of 128 * weight, which all tokens share, are taken away at the end;
//   dense:                the offset goes to the weights instead, and 128 * the token's sum is taken away at the end.
template <std::size_t Span, unsigned Bits, std::size_t Rows, std::size_t Tokens, bool Offset>
FLAME_INLINE void multiply_vnni_tile(const PackedBlock& block, const Tail<Bits>& tail, std::size_t first_row,
                                     const PackedInput& input, std::size_t first_token, const BlockOutput& output) {
  using Gather = CodeGather<Span, Bits>;
  const Gather gather;
  constexpr bool kByToken = Offset && Span == 1;
  constexpr bool kByRow = Offset && Span > 1 && Tokens > 1;
  constexpr std::size_t kPositionBytes = kPackedChunk * Bits / 8;
  constexpr bool kByRuns = Rows == kPackedBlockRows && Span == 8;
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(128));
  __m512i sums[Rows * Tokens];
  __m512i corrections[kByToken ? Tokens : Rows];
  unroll<Rows * Tokens>([&](auto i) FLAME_INLINE_LAMBDA { sums[i] = _mm512_setzero_si512(); });
  unroll<kByToken ? Tokens : Rows>([&](auto i) FLAME_INLINE_LAMBDA { corrections[i] = _mm512_setzero_si512(); });

  // Of the products, `lanes` are row r's.
  const auto add_codes = [&](std::size_t r, std::size_t t, __m512i codes, __m512i weights, auto lanes)
                             FLAME_INLINE_LAMBDA {
                               __m512i& sum = sums[t * Rows + r];
                               if constexpr (kByToken) {
                                 sum = add_products(sum, lanes, _mm512_xor_si512(weights, offset), codes);
                               } else {
                                 sum = add_products(sum, lanes, codes, weights);
                               }
                             };
  const auto correct_row = [&](std::size_t r, __m512i weights, auto lanes) FLAME_INLINE_LAMBDA {
    if constexpr (kByRow) {
      corrections[r] = add_products(corrections[r], lanes, offset, weights);
    } else if constexpr (Offset && Span > 1) {
      const __m512i negative = _mm512_sub_epi8(_mm512_setzero_si512(), weights);
      sums[r] = add_products(sums[r], lanes, offset, negative);
    }
  };
  // Dense: makes the codes signed again, and adds them up.
  const auto sign_codes = [&](std::size_t t, auto& tables, auto lanes) FLAME_INLINE_LAMBDA {
    if constexpr (kByToken) {
      tables[0] = _mm512_xor_si512(tables[0], offset);
      corrections[t] = add_products(corrections[t], lanes, offset, tables[0]);
    }
  };

  const std::size_t whole_chunks = tail.chunk();
  const std::size_t chunk_bytes = block.rows * (kPackedChunk + kPositionBytes);
  const std::byte* chunk_start = block.bytes + block.rows * sizeof(float);
  const std::byte* const block_end = block.bytes + block.rows * block.layout.row_bytes();
  prefetch_ahead(block.bytes);  // the scales
  for (std::size_t chunk = 0; chunk < whole_chunks; ++chunk, chunk_start += chunk_bytes) {
    if constexpr (kByRuns) fetch_run(chunk_start, chunk_start + chunk_bytes, block.end);
    const std::byte* values = chunk_start + first_row * kPackedChunk;
    const std::byte* positions = chunk_start + block.rows * kPackedChunk + first_row * kPositionBytes;
    __m512i tables[Tokens][Span];
    unroll<Tokens>([&](auto t) FLAME_INLINE_LAMBDA {
      Gather::load(input.codes(first_token + t) + chunk * kPackedChunk * Span, tables[t]);
      sign_codes(t, tables[t], AllLanes());
    });
    unroll<Rows>([&](auto r) FLAME_INLINE_LAMBDA {
      if constexpr (!kByRuns) prefetch_row<kPackedChunk, kPositionBytes, Rows, r()>(values, positions);
      const __m512i indices = gather.positions(positions + r * kPositionBytes);
      const __m512i weights = _mm512_loadu_si512(values + r * kPackedChunk);
      unroll<Tokens>([&](auto t) FLAME_INLINE_LAMBDA {
        add_codes(r, t, Gather::gather(tables[t], indices), weights, AllLanes());
      });
      correct_row(r, weights, AllLanes());
    });
  }

  end_of_loop(sums);
  if (!tail.empty()) {
    if constexpr (kByRuns) fetch_run(chunk_start, block_end, block.end);
    const std::byte* values = tail.values(chunk_start, first_row);
    const std::byte* positions = tail.positions(chunk_start, block.rows, first_row);
    with_tail_tables<Span, Bits, Tokens>(
        tail, input, first_token, sign_codes,
        [&](auto paired, const auto& tables, auto&& pick_codes) FLAME_INLINE_LAMBDA {
          constexpr bool kPaired = decltype(paired)::value;
          for_each_tail_row<Span, Bits, Rows, kPaired, !kByRuns>(
              tail, first_row, values, positions,
              [&](auto both, std::size_t r)
                  FLAME_INLINE_LAMBDA { return tail.template int8_values<decltype(both)::value>(values, r); },
              [&](std::size_t r, __m512i weights, __m512i indices, auto lanes) FLAME_INLINE_LAMBDA {
                unroll<Tokens>([&](auto t) FLAME_INLINE_LAMBDA {
                  add_codes(r, t, pick_codes(tables[t], indices), weights, lanes);
                });
                correct_row(r, weights, lanes);
              });
        });
  }

  if constexpr (kByToken || kByRow) {
    unroll<Rows * Tokens>([&](auto i) FLAME_INLINE_LAMBDA {
      sums[i] = _mm512_sub_epi32(sums[i], corrections[kByToken ? i / Rows : i % Rows]);
    });
  }
  store_integer_sums<Rows, Tokens>(block, first_row, input, first_token, sum_each(sums), output);
}

// Rows of a block that one pass over one token's tables serves. At m / n = 8 not all tables find registers; eight rows
// a pass would need their own sums over lanes.
constexpr std::size_t kRowsAtOnce = 16;

// Calls tile(rows, tokens, first row, first token), the first two as constants, for tiles that cover a block.
template <typename Tile>
FLAME_INLINE void for_each_tile(std::size_t rows, std::size_t tokens, Tile&& tile) {
  constexpr std::size_t kRows = kRowsAtOnce;
  std::size_t t = 0;
  for (; t + 4 <= tokens; t += 4) {
    std::size_t r = 0;
    for (; r + 4 <= rows; r += 4) tile(Constant<4>(), Constant<4>(), r, t);
    for (; r < rows; ++r) tile(Constant<1>(), Constant<4>(), r, t);
  }
  for (; t < tokens; ++t) {
    std::size_t r = 0;
    for (; r + kRows <= rows; r += kRows) tile(Constant<kRows>(), Constant<1>(), r, t);
    for (; r < rows; ++r) tile(Constant<1>(), Constant<1>(), r, t);
  }
}

template <std::size_t Span, unsigned Bits>
FLAME_ATTR void multiply_vnni_range(const PackedMatrixView& matrix, std::size_t first, std::size_t last,
                                    const PackedInput& input, const BlockOutput& output) {
  const Tail<Bits> tail(matrix.layout);
  const bool offset = input.code_offset() != 0;
  for_each_block(
      matrix, first, last, input.tokens(), output, [&](const PackedBlock& block, const BlockOutput& part) FLAME_ATTR {
        for_each_tile(block.rows, input.tokens(),
                      [&](auto rows, auto tokens, std::size_t r, std::size_t t) FLAME_INLINE_LAMBDA {
                        if (offset) {
                          multiply_vnni_tile<Span, Bits, rows(), tokens(), true>(block, tail, r, input, t, part);
                        } else {
                          multiply_vnni_tile<Span, Bits, rows(), tokens(), false>(block, tail, r, input, t, part);
                        }
                      });
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

inline BlockKernel vnni_int8_kernel(const PackedFormat& format) { return kernel_of_pattern<Int8Kernel>(format); }

#endif  // AVX3_DL

}  // namespace
}  // namespace flame::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
