#pragma once

#include <algorithm>
#include <bit>

#include "flame/kernels/packed_matrix.h"

namespace flame::kernels {

/// Vector instructions on a processor that runs four 512-bit ones a cycle, of which two may be multiplications or
/// shifts, two may be permutes, conversions that widen, or loads that repeat 16 or 32 bytes, and three at most may be
/// of either sort (AMD Zen 5, as measured: the two sorts share one of the four pipes); and two loads.
struct VectorWork {
  int shifts = 0;    ///< multiplications, multiply-adds and shifts
  int permutes = 0;  ///< permutes, widening conversions, repeating loads
  int others = 0;    ///< logic, additions, conversions between integers and floats: on any pipe
  int loads = 0;

  [[nodiscard]] double cycles() const {
    return std::max(
        {(shifts + permutes + others) / 4.0, shifts / 2.0, permutes / 2.0, (shifts + permutes) / 3.0, loads / 2.0});
  }
  VectorWork& operator+=(const VectorWork& more) {
    shifts += more.shifts;
    permutes += more.permutes;
    others += more.others;
    loads += more.loads;
    return *this;
  }
};

/// What the AVX3_DL kernels of packed_avx512-inl.h and packed_float-inl.h execute for 64 kept values of one row and one
/// token, in a whole chunk: the bound that a matrix in the first-level cache is compared with. Counted are the
/// instructions that every row needs. Left out, because rows share them or a matrix in cache does not need them: the
/// token's tables, sums over lanes and scales at a block's end, prefetches, the extra work of short last chunks.
/// `signed_codes`: int8 tokens with negative codes. Patterns without a kernel of their own give no work.
inline VectorWork packed_work(const PackedFormat& format, bool signed_codes) {
  VectorWork work;
  const bool integers = format.type == PackedType::kInt8 || format.type == PackedType::kInt4;
  const int span = format.dense() ? 1 : format.m / format.n;
  const auto bits = static_cast<int>(format.index_bits());
  if (!format.dense() && (!std::has_single_bit(format.n) || !std::has_single_bit(format.m) || span > 8)) return work;

  // Positions and gather, of 64 bytes or of 16 floats.
  VectorWork gather;
  if (span > 1) {
    gather += {1, 0, 1, 1};                                           // rotate or shift; mask and group base
    if (!integers || bits == 2 || bits == 4) gather += {0, 1, 0, 0};  // repeat a plane, or widen its bytes
    if (bits == 3) gather += integers ? VectorWork{1, 0, 1, 1} : VectorWork{2, 1, 1, 1};  // the plane of high bits
    gather += {0, span / 2, 0, 0};
    // Joins what came from several pairs of tables: two at a time, at the end of int8 and int4 three.
    gather += {0, 0, integers && span == 8 ? 2 : span / 2 - 1, 0};
  }
  switch (format.type) {
    case PackedType::kInt8:
      work = gather;
      work += {1, 0, 0, 1};  // multiply and add
      if (signed_codes) work += span == 1 ? VectorWork{0, 0, 1, 0} : VectorWork{1, 0, 1, 0};
      break;
    case PackedType::kInt4:
      work = gather;
      work += {0, 1, 1, 1};                                                 // repeat the values, mask
      work += span == 1 ? VectorWork{1, 0, 0, 0} : VectorWork{2, 0, 1, 0};  // multiply, less 8 * codes
      work += {1, 1, 1, 1};                                                 // convert, scale and add
      break;
    case PackedType::kBF16:
    case PackedType::kF32:
      for (int vector = 0; vector < 4; ++vector) {
        work += gather;
        work += {1, 0, 0, 1};                                        // multiply and add
        if (format.type == PackedType::kBF16) work += {1, 1, 0, 0};  // widen
      }
      break;
  }
  return work;
}

}  // namespace flame::kernels
