// The int4 kernels for AVX-512 with VNNI and VBMI (Highway's AVX3_DL). A vector holds 32 kept values of one row and the
// same 32 of the next: they look up the same inputs, half as many as 64 values of one row would, and two rows' packed
// values are one load. Included by packed_kernels.cc once for each instruction set.
#if defined(FLAME_KERNELS_PACKED_AVX512_INT4_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLAME_KERNELS_PACKED_AVX512_INT4_INL_H_
#undef FLAME_KERNELS_PACKED_AVX512_INT4_INL_H_
#else
#define FLAME_KERNELS_PACKED_AVX512_INT4_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <bit>

#include "flame/base/aligned_vector.h"
#include "flame/base/data_type.h"
#include "flame/kernels/packed_avx512-inl.h"
#include "flame/kernels/packed_block.h"
#include "flame/kernels/registers-inl.h"

HWY_BEFORE_NAMESPACE();
namespace flame::kernels::HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_AVX3_DL

constexpr std::size_t kHalfChunk = kPackedChunk / 2;
constexpr std::size_t kBlockPairs = kPackedBlockRows / 2;

// Unpacks the planes of positions of two rows in a whole chunk: indices of their first and of their last 32 values.
template <std::size_t Span, unsigned Bits>
class PairPositions {
 public:
  struct Halves {
    __m512i first;
    __m512i last;
  };

  FLAME_INLINE Halves unpack(const std::byte* planes) const {
    if constexpr (Bits == 0) {
      return {_mm512_setzero_si512(), _mm512_setzero_si512()};
    } else if constexpr (Bits == 4) {
      // A nibble of each half a byte: nothing has to move.
      const __m512i bytes = _mm512_loadu_si512(planes);
      return {with_base(bytes), with_base(_mm512_srli_epi16(bytes, 4))};
    } else {
      const __m512i words = load_words(planes);
      const __m512i low = _mm512_permutexvar_epi64(load_table(kWords), words);
      __m512i first = with_base(_mm512_rorv_epi64(low, load_table(kFirst)));
      __m512i last = with_base(_mm512_rorv_epi64(low, load_table(kLast)));
      if constexpr (Bits == 3) {
        const __m512i high = _mm512_permutexvar_epi64(load_table(kHighWords), words);
        first = with_high_bit(_mm512_rorv_epi64(high, load_table(kHighFirst)), first);
        last = with_high_bit(_mm512_rorv_epi64(high, load_table(kHighLast)), last);
      }
      return {first, last};
    }
  }

 private:
  // Words of a row's planes: of the low bits, and with those of the high bits.
  static constexpr unsigned kPlaneWords = Bits == 1 ? 1 : 2;
  static constexpr unsigned kRowWords = Bits;
  static constexpr unsigned kLowBits = Bits == 3 ? 2 : Bits;

  static FLAME_INLINE __m512i load_words(const std::byte* planes) {
    return _mm512_maskz_loadu_epi64(static_cast<__mmask8>((1U << (2 * kRowWords)) - 1U), planes);
  }
  static FLAME_INLINE __m512i with_base(__m512i fields) {
    return _mm512_ternarylogic_epi32(fields, _mm512_set1_epi8((1 << kLowBits) - 1),
                                     load_table(CodeGather<Span, Bits>::kPairedBase), kAndOr);
  }
  static FLAME_INLINE __m512i with_high_bit(__m512i fields, __m512i indices) {
    return _mm512_ternarylogic_epi32(fields, _mm512_set1_epi8(4), indices, kAndOr);
  }
  // Word j of a vector has values 8 * (j mod 4) … of row j / 4.
  template <typename Value>
  static constexpr WordTable make_table(Value&& value) {
    WordTable table = {};
    for (unsigned j = 0; j < kVectorWords; ++j) table.words[j] = value(j / 4, j % 4);
    return table;
  }
  static constexpr WordTable kWords =
      make_table([](unsigned row, unsigned eight) { return row * kRowWords + eight % kPlaneWords; });
  static constexpr WordTable kFirst =
      make_table([](unsigned, unsigned eight) { return eight / kPlaneWords * kLowBits; });
  static constexpr WordTable kLast =
      make_table([](unsigned, unsigned eight) { return (4 + eight) / kPlaneWords * kLowBits; });
  // The plane of high bits is one word, of which eight fields take bit `eight`; it goes to bit 2.
  static constexpr WordTable kHighWords = make_table([](unsigned row, unsigned) { return row * kRowWords + 2; });
  static constexpr WordTable kHighFirst = make_table([](unsigned, unsigned eight) { return (eight + 62) % 64; });
  static constexpr WordTable kHighLast = make_table([](unsigned, unsigned eight) { return eight + 2; });
};

// The scales of an int4 block as floats, and how a vector of two rows takes its lanes' scales: 4 kept values a lane
// share one.
class PairScales {
 public:
  FLAME_ATTR explicit PairScales(const PackedLayout& layout) : groups_(layout.scale_groups()) {
    const PackedFormat& format = layout.format();
    // Kept values that share a scale: a power of two, 4 to 64.
    const std::size_t sharing = format.int4_group * std::size_t{format.n} / format.m;
    log_sharing_ = static_cast<unsigned>(std::countr_zero(sharing));
    // As far as the last half chunk's place() looks.
    const std::size_t halves = (layout.kept() + kHalfChunk - 1) / kHalfChunk;
    vectors_ = ((halves * kHalfChunk - 1) >> log_sharing_) / kGroups + 1;
    thread_local AlignedVector<float> memory;
    memory.resize(std::max(memory.size(), vectors_ * kBlockPairs * kLanes));
    widened_ = memory.data();
    alignas(64) std::int32_t lanes[kLanes];
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = static_cast<std::int32_t>(lane / 8 * kGroups + (lane % 8 * 4 >> log_sharing_));
    }
    lanes_ = _mm512_load_si512(lanes);
  }

  // Of a whole block. Past a row's last group stand zeros.
  FLAME_ATTR void widen(const PackedBlock& block) {
    const std::size_t row_bytes = groups_ * sizeof(Float16);
    fetch_run(block.bytes, block.bytes + kPackedBlockRows * row_bytes, block.end);
    for (std::size_t vector = 0; vector < vectors_; ++vector) {
      const std::size_t first = std::min(groups_, vector * kGroups);
      const auto mask = static_cast<__mmask8>((1U << std::min(groups_ - first, kGroups)) - 1U);
      unroll<kBlockPairs>([&](auto pair) FLAME_INLINE_LAMBDA {
        const std::byte* scales = block.bytes + 2 * pair * row_bytes + first * sizeof(Float16);
        const __m256i halves =
            _mm256_set_m128i(_mm_maskz_loadu_epi16(mask, scales + row_bytes), _mm_maskz_loadu_epi16(mask, scales));
        _mm512_store_ps(widened_ + (vector * kBlockPairs + pair) * kLanes, _mm512_cvtph_ps(halves));
      });
    }
  }

  // Where the scales of half a chunk lie for every pair: 16 floats, and which of them each lane takes.
  struct Place {
    const float* scales = nullptr;
    __m512i lanes;
  };
  [[nodiscard]] FLAME_INLINE Place place(std::size_t first_value) const {
    const std::size_t group = first_value >> log_sharing_;
    return {widened_ + group / kGroups * kBlockPairs * kLanes,
            _mm512_add_epi32(lanes_, _mm512_set1_epi32(static_cast<int>(group % kGroups)))};
  }
  static FLAME_INLINE __m512 of(const Place& place, std::size_t pair) {
    return _mm512_permutexvar_ps(place.lanes, _mm512_load_ps(place.scales + pair * kLanes));
  }

 private:
  static constexpr std::size_t kLanes = 16;
  static constexpr std::size_t kGroups = 8;  // of each of two rows in a vector

  std::size_t groups_;
  unsigned log_sharing_ = 0;
  std::size_t vectors_ = 0;
  float* widened_ = nullptr;
  __m512i lanes_;
};

// How the rows' short last chunk, if there is one, is read: half a chunk of two rows at a time.
template <unsigned Bits>
class PairTail {
 public:
  FLAME_ATTR explicit PairTail(const PackedLayout& layout)
      : chunk_(layout.kept() / kPackedChunk), values_(layout.kept() % kPackedChunk) {
    if (values_ == 0) return;
    value_bytes_ = layout.value_bytes_of(values_);
    position_bytes_ = layout.index_bytes_of(values_);
    for (std::size_t half = 0; half < halves(); ++half) {
      nibbles_[half] = StringUnpacker<4, true>(value_bytes_, half * kHalfChunk / 2);
      positions_[half] = StringUnpacker<kFieldBits, true>(position_bytes_, half * kHalfChunk * kFieldBits / 8);
    }
  }

  [[nodiscard]] std::size_t chunk() const { return chunk_; }
  [[nodiscard]] std::size_t halves() const { return (values_ + kHalfChunk - 1) / kHalfChunk; }
  [[nodiscard]] std::size_t value_bytes() const { return value_bytes_; }
  [[nodiscard]] std::size_t position_bytes() const { return position_bytes_; }
  // Of the pair whose strings begin there. What lies past the rows' ends meets codes of zero.
  FLAME_INLINE __m512i values(const std::byte* strings, std::size_t half) const {
    return nibbles_[half].unpack(strings + half * kHalfChunk / 2);
  }
  FLAME_INLINE __m512i fields(const std::byte* strings, std::size_t half) const {
    return positions_[half].unpack(strings + half * kHalfChunk * kFieldBits / 8);
  }

 private:
  static constexpr unsigned kFieldBits = std::max(Bits, 1U);

  std::size_t chunk_;
  std::size_t values_;
  std::size_t value_bytes_ = 0;
  std::size_t position_bytes_ = 0;
  StringUnpacker<4, true> nibbles_[2];
  StringUnpacker<kFieldBits, true> positions_[2];
};

// Totals of 8 vectors that hold lanes of an even row in their lower and of an odd one in their upper half: in lane
// t * 2 * Pairs + r that of row r and token t, from sums[t * Pairs + r / 2].
template <std::size_t Pairs>
FLAME_INLINE __m512 sum_each_pair(const __m512 (&sums)[8]) {
  struct alignas(64) LaneTable {
    std::uint32_t lanes[16];
  };
  static constexpr LaneTable kOrder = [] {
    LaneTable table = {};
    for (unsigned lane = 0; lane < 16; ++lane) {
      const unsigned row = lane % (2 * Pairs);
      const unsigned sum = lane / (2 * Pairs) * Pairs + row / 2;
      table.lanes[lane] = (sum / 4 * 2 + row % 2) * 4 + sum % 4;
    }
    return table;
  }();
  return _mm512_permutexvar_ps(_mm512_load_si512(&kOrder), add_halves(sum_four<0>(sums), sum_four<4>(sums)));
}

// Adds scale * (weights - 8) * code. An integer that is added to the bits of a float with units of one (of a sixteenth)
// in the last place adds so many units: two such floats' difference is exact, and is a float already. Weights and
// eights in the upper halves of bytes are 16 times too large.
struct NibblePlace {
  __m512i mask;
  __m512i eights;
  __m512i float_bits;
};
FLAME_INLINE NibblePlace low_nibbles() {
  return {_mm512_set1_epi8(0x0f), _mm512_set1_epi8(8), _mm512_castps_si512(_mm512_set1_ps(0x1.8p23F))};
}
FLAME_INLINE NibblePlace high_nibbles() {
  return {_mm512_set1_epi8(static_cast<char>(0xf0)), _mm512_set1_epi8(static_cast<char>(0x80)),
          _mm512_castps_si512(_mm512_set1_ps(0x1.8p19F))};
}
FLAME_INLINE __m512 float_of_products(const NibblePlace& place, __m512i weights, __m512i codes) {
  return _mm512_castsi512_ps(_mm512_dpbusd_epi32(place.float_bits, weights, codes));
}
FLAME_INLINE __m512i weights_plus_eight(const NibblePlace& place, __m512i packed) {
  return _mm512_ternarylogic_epi32(packed, place.mask, place.eights, kAndXor);
}

// 2 * Pairs rows x Tokens sums over one whole block, of which the first `stored` rows' are written. A function of its
// own: inlined beside others it loses registers.
template <std::size_t Span, unsigned Bits, std::size_t Pairs, std::size_t Tokens>
FLAME_ATTR __attribute__((noinline)) void multiply_int4_pairs(const PackedBlock& block, const PairTail<Bits>& tail,
                                                              const PairScales& scales, std::size_t first_pair,
                                                              std::size_t stored, const PackedInput& input,
                                                              std::size_t first_token, const BlockOutput& output) {
  using Gather = CodeGather<Span, Bits>;
  constexpr std::size_t kHalfTables = Gather::kHalfTables;
  constexpr std::size_t kPairBytes = kPackedChunk;  // of values: 4 bits each
  constexpr std::size_t kPositionBytes = 2 * kPackedChunk * Bits / 8;
  constexpr std::size_t kChunkBytes = kBlockPairs * (kPairBytes + kPositionBytes);
  constexpr bool kByRuns = Pairs == kBlockPairs;
  const PairPositions<Span, Bits> positions_of;
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(input.code_offset()));
  const NibblePlace low = low_nibbles();
  const NibblePlace high = high_nibbles();
  __m512 sums[Pairs * Tokens];
  unroll<Pairs * Tokens>([&](auto i) FLAME_INLINE_LAMBDA { sums[i] = _mm512_setzero_ps(); });

  // Signed codes of half a chunk that begins at `first_value`, and dense: 8 * codes, the same for all rows.
  struct Inputs {
    __m512i tables[kHalfTables];
    __m512 eights;
  };
  const auto load_inputs = [&](std::size_t first_value, const NibblePlace& place,
                               Inputs(&inputs)[Tokens]) FLAME_INLINE_LAMBDA {
    unroll<Tokens>([&](auto t) FLAME_INLINE_LAMBDA {
      Gather::load_half(input.codes(first_token + t) + first_value * Span, inputs[t].tables);
      unroll<kHalfTables>(
          [&](auto i) FLAME_INLINE_LAMBDA { inputs[t].tables[i] = _mm512_xor_si512(inputs[t].tables[i], sign); });
      if constexpr (Span == 1) inputs[t].eights = float_of_products(place, place.eights, inputs[t].tables[0]);
    });
  };
  const auto add = [&](std::size_t pair, const NibblePlace& place, const Inputs(&inputs)[Tokens], __m512i packed,
                       __m512i indices, __m512 scale) FLAME_INLINE_LAMBDA {
    const __m512i weights = weights_plus_eight(place, packed);
    unroll<Tokens>([&](auto t) FLAME_INLINE_LAMBDA {
      const __m512i codes = Gather::gather_paired(inputs[t].tables, indices);
      __m512 eights = inputs[t].eights;
      if constexpr (Span > 1) eights = float_of_products(place, place.eights, codes);
      __m512& sum = sums[t * Pairs + pair];
      sum = _mm512_fmadd_ps(_mm512_sub_ps(float_of_products(place, weights, codes), eights), scale, sum);
    });
  };

  const std::byte* chunk_start = block.bytes + kPackedBlockRows * block.layout.row_scale_bytes();
  const std::byte* const block_end = block.bytes + kPackedBlockRows * block.layout.row_bytes();
  for (std::size_t chunk = 0; chunk < tail.chunk(); ++chunk) {
    const std::byte* values = chunk_start + first_pair * kPairBytes;
    const std::byte* planes = chunk_start + kBlockPairs * kPairBytes + first_pair * kPositionBytes;
    if constexpr (kByRuns) fetch_run(chunk_start, chunk_start + kChunkBytes, block.end);
    chunk_start += kChunkBytes;
    const std::size_t first_value = chunk * kPackedChunk;
    Inputs first_inputs[Tokens];
    Inputs last_inputs[Tokens];
    load_inputs(first_value, low, first_inputs);
    load_inputs(first_value + kHalfChunk, high, last_inputs);
    const PairScales::Place first_scales = scales.place(first_value);
    const PairScales::Place last_scales = scales.place(first_value + kHalfChunk);
    unroll<Pairs>([&](auto p) FLAME_INLINE_LAMBDA {
      const __m512i packed = _mm512_loadu_si512(values + p * kPairBytes);
      const auto indices = positions_of.unpack(planes + p * kPositionBytes);
      if constexpr (!kByRuns) prefetch_share<Pairs * kPairBytes, 2 * Pairs, 2 * p()>(values);
      add(p, low, first_inputs, packed, indices.first, PairScales::of(first_scales, first_pair + p));
      if constexpr (!kByRuns) prefetch_share<Pairs * kPairBytes, 2 * Pairs, 2 * p() + 1>(values);
      add(p, high, last_inputs, packed, indices.last, PairScales::of(last_scales, first_pair + p));
    });
  }
  end_of_loop(sums);

  if constexpr (kByRuns) fetch_run(chunk_start, block_end, block.end);
  const std::size_t pair_value_bytes = 2 * tail.value_bytes();
  const std::size_t pair_position_bytes = 2 * tail.position_bytes();
  const std::byte* strings = chunk_start + kBlockPairs * pair_value_bytes;
  LinePrefetcher<!kByRuns> prefetch(chunk_start + first_pair * pair_value_bytes, Pairs * pair_value_bytes);
  for (std::size_t half = 0; half < tail.halves(); ++half) {
    const std::size_t first_value = tail.chunk() * kPackedChunk + half * kHalfChunk;
    Inputs inputs[Tokens];
    load_inputs(first_value, low, inputs);
    const PairScales::Place place = scales.place(first_value);
    unroll<Pairs>([&](auto p) FLAME_INLINE_LAMBDA {
      prefetch.next();
      const std::size_t pair = first_pair + p;
      const __m512i packed = tail.values(chunk_start + pair * pair_value_bytes, half);
      __m512i indices = packed;
      if constexpr (Bits > 0) {
        indices = Gather::template positions_of_strings<true>(tail.fields(strings + pair * pair_position_bytes, half));
      }
      add(p, low, inputs, packed, indices, PairScales::of(place, pair));
    });
  }

  __m512 factors = _mm512_set1_ps(input.scale(first_token));
  unroll<Tokens - 1>([&](auto t) FLAME_INLINE_LAMBDA {
    constexpr auto kLater = static_cast<__mmask16>(0xffffU << ((t() + 1) * 2 * Pairs));
    factors = _mm512_mask_mov_ps(factors, kLater, _mm512_set1_ps(input.scale(first_token + t + 1)));
  });
  store_some_totals<2 * Pairs, Tokens>(_mm512_mul_ps(sum_each_pair<Pairs>(sums), factors), stored,
                                       output.values + first_token * output.stride + 2 * first_pair, output.stride);
}

template <std::size_t Span, unsigned Bits>
FLAME_ATTR void multiply_int4_range(const PackedMatrixView& matrix, std::size_t first, std::size_t last,
                                    const PackedInput& input, const BlockOutput& output) {
  constexpr std::size_t kTilePairs = 2;
  constexpr std::size_t kTileTokens = 4;
  const PairTail<Bits> tail(matrix.layout);
  PairScales scales(matrix.layout);
  thread_local std::vector<std::byte> filled_up;
  for_each_block(
      matrix, first, last, input.tokens(), output, [&](const PackedBlock& block, const BlockOutput& part) FLAME_ATTR {
        const PackedBlock whole = fill_up_block(block, filled_up);
        scales.widen(whole);
        std::size_t t = 0;
        for (; t + kTileTokens <= input.tokens(); t += kTileTokens) {
          for (std::size_t pair = 0; 2 * pair < block.rows; pair += kTilePairs) {
            multiply_int4_pairs<Span, Bits, kTilePairs, kTileTokens>(
                whole, tail, scales, pair, std::min(2 * kTilePairs, block.rows - 2 * pair), input, t, part);
          }
        }
        for (; t < input.tokens(); ++t) {
          multiply_int4_pairs<Span, Bits, kBlockPairs, 1>(whole, tail, scales, 0, block.rows, input, t, part);
        }
      });
}

template <std::size_t Span, unsigned Bits>
struct Int4Kernel {
  static constexpr BlockKernel kMultiply = multiply_int4_range<Span, Bits>;
};

inline BlockKernel vnni_int4_kernel(const PackedFormat& format) {
  // A lane's four values, and a group of n, must share a scale.
  const std::size_t lane_inputs = 4U * format.m / format.n;
  if (!format.dense() && format.int4_group % std::max<std::size_t>(lane_inputs, format.m) != 0) return nullptr;
  return kernel_of_pattern<Int4Kernel>(format);
}

#endif  // AVX3_DL

}  // namespace
}  // namespace flame::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
