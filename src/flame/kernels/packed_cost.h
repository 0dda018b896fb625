#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>

#include "flame/kernels/packed_matrix.h"

namespace flame::kernels {

/// Vector instructions, by the pipes of a processor that can run them (AMD Zen 5: four pipes, as measured).
struct VectorWork {
  double shifts = 0;    ///< multiplications, multiply-adds and shifts: two pipes
  double permutes = 0;  ///< permutes, widening conversions, loads that repeat bytes: two pipes, one of those of shifts
  double others = 0;    ///< logic, additions, conversions between integers and floats: all four
  double loads = 0;     ///< of 64 bytes: two a cycle

  /// What the counts alone allow, if every instruction waited for the very pipe that is free.
  [[nodiscard]] constexpr double cycles() const {
    return std::max({(shifts + permutes + others) / 4, shifts / 2, permutes / 2, (shifts + permutes) / 3, loads / 2});
  }
  constexpr VectorWork& operator+=(const VectorWork& more) {
    shifts += more.shifts;
    permutes += more.permutes;
    others += more.others;
    loads += more.loads;
    return *this;
  }
  friend constexpr VectorWork operator*(double factor, const VectorWork& work) {
    return {factor * work.shifts, factor * work.permutes, factor * work.others, factor * work.loads};
  }
};

/// What the AVX3_DL kernels (packed_avx512*-inl.h, packed_float-inl.h) execute for 64 kept values of one row and one
/// token, in a whole chunk, with the row's share of what sixteen rows do together: loads of the token's tables, and at
/// a block's end, once in `kept` kept values of each row, sums over lanes. Left out is what a short last chunk costs
/// more than a whole one. `signed_codes`: int8 tokens with negative codes. Patterns without a kernel of their own give
/// no work.
constexpr VectorWork packed_work(const PackedFormat& format, bool signed_codes, std::size_t kept) {
  constexpr double kRows = kPackedBlockRows;
  const bool dense = format.n == format.m;
  const int span = dense ? 1 : format.m / format.n;
  const int bits = dense ? 0 : static_cast<int>(std::bit_width(format.m - 1U));
  if (!dense && (!std::has_single_bit(format.n) || !std::has_single_bit(format.m) || span > 8)) return {};
  const double pairs_of_tables = span / 2;
  const double chunks = static_cast<double>(kept) / kPackedChunk;

  VectorWork work;
  double value_bytes = 0.0;
  switch (format.type) {
    case PackedType::kInt8:
      value_bytes = kPackedChunk;
      if (span > 1) {
        work += {1, 0, 1, 1};                              // rotate; mask and group base
        if (bits == 2 || bits == 4) work += {0, 1, 0, 0};  // repeat a plane
        if (bits == 3) work += {1, 1, 1, 1};               // repeat the low one, the plane of high bits
        work += {0, pairs_of_tables, 0, 0};
      }
      work += {1, 0, 0, 1};  // multiply and add
      if (signed_codes) work += span == 1 ? VectorWork{0, 0, 1, 0} : VectorWork{1, 0, 1, 0};
      work += 1.0 / kRows * VectorWork{0, 0, 0, static_cast<double>(span)};
      work += 1.0 / (kRows * chunks) * VectorWork{2, 30, 16, 2};  // transpose and add; scale
      break;
    case PackedType::kInt4:  // two rows a vector
      value_bytes = kPackedChunk / 2;
      if (bits == 1 || bits == 2) work += {1, 0.5, 1, 0.5};  // half a permute of words; rotate; mask and group base
      if (bits == 3) work += {2, 1, 2, 0.5};
      if (bits == 4) work += {0.5, 0, 1, 0.5};
      if (span > 1) work += {1, std::max(pairs_of_tables / 2, 1.0), 0, 0};  // gather; 8 * codes
      work += {1, 0, 2, 0.5};                                               // weights; multiply; less 8 * codes
      work += {1, 1, 0, 1};                                                 // their scales; scale and add
      // 16 scales of two rows: two loads, joined; to floats, which takes both sorts of pipe; stored.
      work += static_cast<double>(kPackedChunk) * span / format.int4_group / 16 * VectorWork{1, 2, 0, 3};
      work += 1.0 / kRows * VectorWork{0, 0, static_cast<double>(span), static_cast<double>(span)};
      work += 1.0 / (kRows * chunks) * VectorWork{1, 15, 7, 1};
      break;
    case PackedType::kBF16:
    case PackedType::kF32:
      value_bytes = kPackedChunk * (format.type == PackedType::kBF16 ? 2 : 4);
      if (format.type == PackedType::kBF16 && span >= 4) {
        work += bits == 3 ? VectorWork{2, 2, 2, 3} : VectorWork{1, 1, 1, 2};  // 64 positions to bytes, kept in cache
        work += 4 * VectorWork{2, 1 + pairs_of_tables, 0, 2};                 // shift; widen; multiply
      } else {
        if (span > 1) work += 4 * VectorWork{1, 1 + pairs_of_tables, 1, 1};  // widen bytes, shift, mask and group base
        if (span > 1 && bits == 3) work += 4 * VectorWork{2, 1, 1, 1};       // the plane of high bits
        work += 4 * VectorWork{1, 0, 0, 1};                                  // multiply and add
        if (format.type == PackedType::kBF16) work += 4 * VectorWork{1, 1, 0, 0};  // widen
      }
      work += 4.0 / kRows * VectorWork{0, 0, 0, static_cast<double>(span)};
      work += 1.0 / (kRows * chunks) * VectorWork{0, 30, 15, 1};
      break;
  }
  work += {0, 0, 0, (value_bytes + bits * 8) / 64 / 2};  // prefetches: twice as many a cycle
  return work;
}

}  // namespace flame::kernels
