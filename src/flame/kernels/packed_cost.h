#pragma once

#include <algorithm>
#include <bit>

#include "flame/kernels/packed_matrix.h"

namespace flame::kernels {

/// Vector instructions on a processor that runs four 512-bit ones a cycle, of which two may be multiplications or
/// shifts, two may be permutes, conversions that widen, or loads that repeat 16 or 32 bytes, and three at most may be
/// of either sort (AMD Zen 5, as measured: the two sorts share one of the four pipes); and two loads.
struct VectorWork {
  double shifts = 0;    ///< multiplications, multiply-adds and shifts
  double permutes = 0;  ///< permutes, widening conversions, repeating loads
  double others = 0;    ///< logic, additions, conversions between integers and floats: on any pipe
  double loads = 0;

  [[nodiscard]] double cycles() const {
    return std::max({(shifts + permutes + others) / 4, shifts / 2, permutes / 2, (shifts + permutes) / 3, loads / 2});
  }
  VectorWork& operator+=(const VectorWork& more) {
    shifts += more.shifts;
    permutes += more.permutes;
    others += more.others;
    loads += more.loads;
    return *this;
  }
};

/// What the AVX3_DL kernels (packed_avx512*-inl.h, packed_float-inl.h) execute for 64 kept values of one row and one
/// token, in a whole chunk: the bound that a matrix in the first-level cache is compared with. Counted are the
/// instructions that every row needs. Left out, because rows share them or a matrix in cache does not need them: the
/// token's tables, sums over lanes and scales at a block's end, prefetches, the extra work of short last chunks.
/// `signed_codes`: int8 tokens with negative codes. Patterns without a kernel of their own give no work.
inline VectorWork packed_work(const PackedFormat& format, bool signed_codes) {
  const int span = format.dense() ? 1 : format.m / format.n;
  const auto bits = static_cast<int>(format.index_bits());
  if (!format.dense() && (!std::has_single_bit(format.n) || !std::has_single_bit(format.m) || span > 8)) return {};
  const double pairs_of_tables = span / 2;

  VectorWork work;
  switch (format.type) {
    case PackedType::kInt8:
      if (span > 1) {
        work += {1, 0, 1, 1};                              // rotate; mask and group base
        if (bits == 2 || bits == 4) work += {0, 1, 0, 0};  // repeat a plane
        if (bits == 3) work += {1, 1, 1, 1};               // repeat the low one, the plane of high bits
        work += {0, pairs_of_tables, 0, 0};
      }
      work += {1, 0, 0, 1};  // multiply and add
      if (signed_codes) work += span == 1 ? VectorWork{0, 0, 1, 0} : VectorWork{1, 0, 1, 0};
      break;
    case PackedType::kInt4:                                  // two rows a vector
      if (bits == 1 || bits == 2) work += {1, 0.5, 1, 0.5};  // half a permute of words; rotate; mask and group base
      if (bits == 3) work += {2, 1, 2, 0.5};
      if (bits == 4) work += {0.5, 0, 1, 0.5};
      if (span > 1) work += {1, std::max(pairs_of_tables / 2, 1.0), 0, 0};  // gather; 8 * codes
      work += {1, 0, 2, 0.5};                                               // weights; multiply; less 8 * codes
      work += {1, 1, 0, 1};                                                 // their scales; scale and add
      break;
    case PackedType::kBF16:
      if (span >= 4) {
        work += bits == 3 ? VectorWork{2, 2, 2, 3} : VectorWork{1, 1, 1, 2};  // 64 positions to bytes, kept in cache
        for (int vector = 0; vector < 4; ++vector) work += {2, 1 + pairs_of_tables, 0, 2};  // shift; widen; multiply
        break;
      }
      [[fallthrough]];
    case PackedType::kF32:
      for (int vector = 0; vector < 4; ++vector) {
        if (span > 1) work += {1, 1 + pairs_of_tables, 1, 1};        // widen bytes, shift, mask and group base
        if (span > 1 && bits == 3) work += {2, 1, 1, 1};             // the plane of high bits
        work += {1, 0, 0, 1};                                        // multiply and add
        if (format.type == PackedType::kBF16) work += {1, 1, 0, 0};  // widen
      }
      break;
  }
  return work;
}

}  // namespace flame::kernels
