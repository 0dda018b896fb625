// What the vector kernels of packed matrices share: the attributes of their functions, loops that are written out, and
// sums over lanes. Included once for each instruction set.
#if defined(FLAME_KERNELS_REGISTERS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLAME_KERNELS_REGISTERS_INL_H_
#undef FLAME_KERNELS_REGISTERS_INL_H_
#else
#define FLAME_KERNELS_REGISTERS_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "flame/kernels/packed_matrix.h"

// Attributes of kernel functions and lambdas. This version of Highway names AVX-VNNI where it checks for AVX512-VNNI;
// kernels add the latter, each function on its own, because clang does not add to attributes that were pushed.
#undef FLAME_ATTR
#undef FLAME_INLINE_LAMBDA
#undef FLAME_INLINE
#if HWY_TARGET == HWY_AVX3_DL
#define FLAME_ATTR __attribute__((target(HWY_TARGET_STR ",avx512vnni")))
#else
#define FLAME_ATTR HWY_ATTR
#endif
#define FLAME_INLINE_LAMBDA __attribute__((always_inline)) FLAME_ATTR
#define FLAME_INLINE inline FLAME_INLINE_LAMBDA

HWY_BEFORE_NAMESPACE();
namespace flame::kernels::HWY_NAMESPACE {
namespace {

template <std::size_t Value>
using Constant = std::integral_constant<std::size_t, Value>;

// body(0), body(1), … body(Count - 1), each argument a constant: arrays that are only indexed so live in registers,
// whatever the compiler thinks of loops.
template <std::size_t... I, typename Body>
FLAME_INLINE void unroll(std::index_sequence<I...>, Body&& body) {
  (body(Constant<I>()), ...);
}
template <std::size_t Count, typename Body>
FLAME_INLINE void unroll(Body&& body) {
  unroll(std::make_index_sequence<Count>(), body);
}

// How far ahead of its reads a kernel prefetches: past the hardware's own prefetchers, which stop at page ends.
constexpr std::size_t kPrefetchBytes = 8192;

// Prefetches where it is written. The empty asm is a wall to GCC's scheduler, which would gather the prefetches of an
// unrolled loop at its top: memory then waits while the loop computes.
FLAME_INLINE void prefetch_ahead(const std::byte* position) {
  hwy::Prefetch(position + kPrefetchBytes);
  asm volatile("");
}

// The other way to have weights in time: a whole run of bytes, [first, last), is fetched in one small loop before the
// kernel reads it. Of the lines a little further on a byte is read, those further ahead are prefetched; nothing from
// `end` on is read. A read is never dropped, as prefetches are when many are under way, and being one instruction that
// goes through all lines in order it sets the processor's own prefetchers going, which a kernel's reads, an instruction
// for each row, do not. It costs more instructions than prefetches beside the rows do.
FLAME_INLINE void fetch_run(const std::byte* first, const std::byte* last, const std::byte* end) {
  constexpr std::ptrdiff_t kReadAheadBytes = 3072;
  // As distances: they may be negative.
  const std::ptrdiff_t stop = std::min(last - first, end - first - kReadAheadBytes);
#pragma GCC unroll 1
  for (std::ptrdiff_t line = 0; line < stop; line += 64) {
    static_cast<void>(*static_cast<const volatile std::byte*>(first + line + kReadAheadBytes));
    hwy::Prefetch(first + line + kPrefetchBytes);
  }
}

// Step `Step` of `Steps` over Bytes bytes from `first` on: prefetches its share of their cache lines, in ascending
// order.
template <std::size_t Bytes, std::size_t Steps, std::size_t Step>
FLAME_INLINE void prefetch_share(const std::byte* first) {
  constexpr std::size_t kLines = (Bytes + 63) / 64;
  constexpr std::size_t kFirst = Step * kLines / Steps;
  unroll<(Step + 1) * kLines / Steps - kFirst>(
      [&](auto line) FLAME_INLINE_LAMBDA { prefetch_ahead(first + (kFirst + line) * 64); });
}

// Prefetches the cache lines of a run of bytes one by one, in ascending order, each when it is asked to; or none.
template <bool Any = true>
class LinePrefetcher {
 public:
  FLAME_INLINE LinePrefetcher(const std::byte* first, std::size_t bytes) : line_(first), end_(first + bytes) {}
  FLAME_INLINE void next() {
    if constexpr (Any) {
      if (line_ < end_) prefetch_ahead(line_);
      line_ += 64;
    }
  }

 private:
  const std::byte* line_;
  const std::byte* end_;
};

// Row `Row`'s share of the prefetches of a tile of Rows rows of one chunk, of which each row has ValueBytes bytes of
// values and PositionBytes of positions. In a whole block these lie in one run.
template <std::size_t ValueBytes, std::size_t PositionBytes, std::size_t Rows, std::size_t Row>
FLAME_INLINE void prefetch_row(const std::byte* values, const std::byte* positions) {
  if constexpr (Rows == kPackedBlockRows) {
    prefetch_share<Rows*(ValueBytes + PositionBytes), Rows, Row>(values);
  } else {
    prefetch_share<Rows * ValueBytes, Rows, Row>(values);
    prefetch_share<Rows * PositionBytes, Rows, Row>(positions);
  }
}

#if HWY_TARGET <= HWY_AVX3

// Between a loop over chunks and what follows: GCC would copy every sum twice a round to suit both.
FLAME_INLINE void end_of_loop(__m512& sum) { asm("" : "+v"(sum)); }
FLAME_INLINE void end_of_loop(__m512i& sum) { asm("" : "+v"(sum)); }
FLAME_INLINE void end_of_loop(hwy::HWY_NAMESPACE::Vec512<float>& sum) { end_of_loop(sum.raw); }
template <typename Vector, std::size_t Count>
FLAME_INLINE void end_of_loop(Vector (&sums)[Count]) {
  unroll<Count>([&](auto i) FLAME_INLINE_LAMBDA { end_of_loop(sums[i]); });
}

FLAME_INLINE __m512 raw_of(__m512 vector) { return vector; }
FLAME_INLINE __m512 raw_of(hwy::HWY_NAMESPACE::Vec512<float> vector) { return vector.raw; }

// The floats that the low five bits of each lane of `indices` pick from its pair of tables: 32 / Span neighbouring
// lanes share one. Lanes that it is not the turn of keep their indices, or what was picked: nothing has to be joined.
template <std::size_t Span, typename Vector>
FLAME_INLINE __m512 gather_floats(const Vector (&tables)[Span], __m512i indices) {
  if constexpr (Span == 2) {
    return _mm512_permutex2var_ps(raw_of(tables[0]), indices, raw_of(tables[1]));
  } else {
    constexpr std::size_t kLanes = 32 / Span;
    __m512 picked = _mm512_castsi512_ps(indices);
    unroll<Span / 2>([&](auto pair) FLAME_INLINE_LAMBDA {
      constexpr auto kMine = static_cast<__mmask16>(((1U << kLanes) - 1U) << (pair() * kLanes));
      picked = _mm512_mask2_permutex2var_ps(raw_of(tables[2 * pair()]), _mm512_castps_si512(picked), kMine,
                                            raw_of(tables[2 * pair() + 1]));
    });
    return picked;
  }
}

// Sums over the lanes of up to 16 vectors, one a lane: a transposition that adds on the way.
FLAME_INLINE __m512i add(__m512i a, __m512i b) { return _mm512_add_epi32(a, b); }
FLAME_INLINE __m512 add(__m512 a, __m512 b) { return _mm512_add_ps(a, b); }
FLAME_INLINE __m512i add_pairs(__m512i a, __m512i b) {
  return add(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}
FLAME_INLINE __m512 add_pairs(__m512 a, __m512 b) { return add(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)); }
FLAME_INLINE __m512i add_fours(__m512i a, __m512i b) {
  return add(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}
FLAME_INLINE __m512 add_fours(__m512 a, __m512 b) {
  const __m512d c = _mm512_castps_pd(a);
  const __m512d d = _mm512_castps_pd(b);
  return add(_mm512_castpd_ps(_mm512_unpacklo_pd(c, d)), _mm512_castpd_ps(_mm512_unpackhi_pd(c, d)));
}
FLAME_INLINE __m512i add_halves(__m512i a, __m512i b) {
  return add(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xDD));
}
FLAME_INLINE __m512 add_halves(__m512 a, __m512 b) {
  return add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
}
template <std::size_t First, typename Vector, std::size_t Count>
FLAME_INLINE Vector sum_four(const Vector (&sums)[Count]) {
  if constexpr (First >= Count) {
    return Vector{};
  } else if constexpr (First + 4 <= Count) {
    return add_fours(add_pairs(sums[First], sums[First + 1]), add_pairs(sums[First + 2], sums[First + 3]));
  } else {
    static_assert(Count == 1);
    return add_fours(add_pairs(sums[0], Vector{}), Vector{});
  }
}
template <typename Vector, std::size_t Count>
FLAME_INLINE Vector sum_each(const Vector (&sums)[Count]) {
  const Vector low = add_halves(sum_four<0>(sums), sum_four<4>(sums));
  if constexpr (Count <= 8) {
    return add_halves(low, Vector{});
  } else {
    return add_halves(low, add_halves(sum_four<8>(sums), sum_four<12>(sums)));
  }
}

// Writes Rows x Tokens results, token by token in the lanes of `totals`.
template <std::size_t Rows, std::size_t Tokens>
FLAME_INLINE void store_totals(__m512 totals, float* output, std::size_t stride) {
  if constexpr (Rows == 16) {
    _mm512_storeu_ps(output, totals);
  } else if constexpr (Tokens == 1) {
    _mm512_mask_storeu_ps(output, static_cast<__mmask16>((1U << Rows) - 1U), totals);
  } else {
    static_assert(Rows == 4 || Rows == 1);
    unroll<Tokens>([&](auto t) FLAME_INLINE_LAMBDA {
      const __m128 part = _mm512_castps512_ps128(
          _mm512_maskz_compress_ps(static_cast<__mmask16>(((1U << Rows) - 1U) << (t() * Rows)), totals));
      if constexpr (Rows == 4) {
        _mm_storeu_ps(output + t * stride, part);
      } else {
        _mm_store_ss(output + t * stride, part);
      }
    });
  }
}

// Writes the first `rows` rows' sums, token by token in the lanes of `totals`.
template <std::size_t Rows, std::size_t Tokens>
FLAME_INLINE void store_some_totals(__m512 totals, std::size_t rows, float* output, std::size_t stride) {
  const auto stored = static_cast<__mmask16>((std::uint32_t{1} << rows) - 1);
  unroll<Tokens>([&](auto t) FLAME_INLINE_LAMBDA {
    constexpr auto kMine = static_cast<__mmask16>(((std::uint32_t{1} << Rows) - 1) << (t() * Rows));
    _mm512_mask_storeu_ps(output + t * stride, stored, _mm512_maskz_compress_ps(kMine, totals));
  });
}

#endif

}  // namespace
}  // namespace flame::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
