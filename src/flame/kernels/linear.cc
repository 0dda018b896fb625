#include "flame/kernels/linear.h"

#include <algorithm>
#include <cassert>
#include <type_traits>

#include "flame/base/thread_pool.h"
#include "flame/kernels/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "flame/kernels/linear.cc"  // this file once for each instruction set
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "flame/kernels/widen-inl.h"

HWY_BEFORE_NAMESPACE();
namespace flame::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// Accumulators live in registers: 32 of them with AVX-512 and NEON, 16 before.
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64
constexpr std::size_t kRowTile = 8;
constexpr std::size_t kTokenTile = 3;
#else
constexpr std::size_t kRowTile = 4;
constexpr std::size_t kTokenTile = 2;
#endif

// Rows at once for one token, where memory decides: fewer streams are read faster. The smaller of the two for rows that
// are too long for a tile of the larger to be prefetched in order.
constexpr std::size_t kLoneTokenRowTile = 4;
constexpr std::size_t kLoneTokenLongRowTile = 2;

// The cache lines of a row tile are prefetched in the order of memory, during the tile before: memory gives one
// sequence of lines faster than several, and the hardware's own prefetchers stop at every page. A tile must stay well
// within the first-level cache for that; larger ones are prefetched row by row, a shorter way ahead.
constexpr std::size_t kLargestTileInOrder = std::size_t{16} << 10;
constexpr std::size_t kInOrderPrefetchBytes = 6144;
constexpr std::size_t kByRowPrefetchBytes = 2048;

// Weights that no cache will keep (`Streamed`) are fetched past them: they would only push one another, and keys and
// values, from level to level.
template <bool Streamed>
HWY_INLINE void prefetch(const std::byte* position) {
  constexpr int kRead = 0;
  constexpr int kLocality = Streamed ? 0 : 3;
  __builtin_prefetch(position, kRead, kLocality);
}

// Rows x Tokens dot products. Each has exactly one accumulator, which takes the columns in order, whatever the tile:
// that makes a result independent of its neighbours. Instruction-level parallelism comes from the other rows and
// tokens.
template <std::size_t Rows, std::size_t Tokens, bool Streamed, typename Element>
HWY_INLINE void multiply_tile(const Element* weight, std::size_t columns, const float* input, std::size_t input_stride,
                              float* output, std::size_t output_stride) {
  const hn::ScalableTag<float> df;
  using Vector = hn::Vec<decltype(df)>;
  const std::size_t lanes = hn::Lanes(df);
  const std::size_t row_bytes = columns * sizeof(Element);
  const bool in_order = Rows * row_bytes <= kLargestTileInOrder;
  const std::byte* ahead = reinterpret_cast<const std::byte*>(weight) +
                           (in_order ? std::max(Rows * row_bytes, kInOrderPrefetchBytes) : kByRowPrefetchBytes);

  Vector sums[Rows][Tokens];
  for (std::size_t r = 0; r < Rows; ++r) {
    for (std::size_t t = 0; t < Tokens; ++t) sums[r][t] = hn::Zero(df);
  }
  const auto add_vector = [&](std::size_t c) HWY_ATTR {
    Vector x[Tokens];
    for (std::size_t t = 0; t < Tokens; ++t) x[t] = hn::LoadU(df, input + t * input_stride + c);
    for (std::size_t r = 0; r < Rows; ++r) {
      const Vector w = load_widened(df, weight + r * columns + c);
      for (std::size_t t = 0; t < Tokens; ++t) sums[r][t] = hn::MulAdd(w, x[t], sums[r][t]);
    }
  };
  // Narrow elements fill a cache line with several vectors: one prefetch a line leaves the load ports to them.
  constexpr std::size_t kVectors = sizeof(float) / sizeof(Element);
  const std::size_t step_bytes = kVectors * lanes * sizeof(Element);
  const std::size_t between_rows = in_order ? step_bytes : row_bytes;
  std::size_t c = 0;
  for (; c + kVectors * lanes <= columns; c += kVectors * lanes) {
    for (std::size_t r = 0; r < Rows; ++r) prefetch<Streamed>(ahead + r * between_rows);
    ahead += in_order ? Rows * step_bytes : step_bytes;
    for (std::size_t v = 0; v < kVectors; ++v) add_vector(c + v * lanes);
  }
  for (; c + lanes <= columns; c += lanes) add_vector(c);
  if (c < columns) {
    HWY_ALIGN Element row_tail[HWY_MAX_BYTES / sizeof(float)] = {};
    HWY_ALIGN float input_tail[Tokens][HWY_MAX_BYTES / sizeof(float)] = {};
    for (std::size_t t = 0; t < Tokens; ++t) std::copy_n(input + t * input_stride + c, columns - c, input_tail[t]);
    for (std::size_t r = 0; r < Rows; ++r) {
      std::copy_n(weight + r * columns + c, columns - c, row_tail);
      const Vector w = load_widened(df, row_tail);
      for (std::size_t t = 0; t < Tokens; ++t) {
        sums[r][t] = hn::MulAdd(w, hn::Load(df, input_tail[t]), sums[r][t]);
      }
    }
  }
  for (std::size_t t = 0; t < Tokens; ++t) {
    for (std::size_t r = 0; r < Rows; ++r) {
      output[t * output_stride + r] = hn::GetLane(hn::SumOfLanes(df, sums[r][t]));
    }
  }
}

template <std::size_t Rows, bool Streamed, typename Element>
HWY_INLINE void multiply_row_tile(const Element* weight, std::size_t columns, MatrixView<const float> input,
                                  float* output, std::size_t output_stride) {
  std::size_t t = 0;
  for (; t + kTokenTile <= input.rows(); t += kTokenTile) {
    multiply_tile<Rows, kTokenTile, Streamed>(weight, columns, input.data() + t * input.stride(), input.stride(),
                                              output + t * output_stride, output_stride);
  }
  for (; t < input.rows(); ++t) {
    multiply_tile<Rows, 1, Streamed>(weight, columns, input.data() + t * input.stride(), input.stride(),
                                     output + t * output_stride, output_stride);
  }
}

template <bool Streamed, typename Element>
void multiply_rows(const WeightMatrix& weight, MatrixView<const float> input, MatrixView<float> output,
                   std::size_t first, std::size_t last) {
  const auto* elements = reinterpret_cast<const Element*>(weight.data);
  std::size_t r = first;
  const auto multiply_tiles = [&](auto tile) HWY_ATTR {
    constexpr std::size_t kRows = decltype(tile)::value;
    for (; r + kRows <= last; r += kRows) {
      multiply_row_tile<kRows, Streamed>(elements + r * weight.columns, weight.columns, input, output.data() + r,
                                         output.stride());
    }
  };
  if (input.rows() > 1) multiply_tiles(std::integral_constant<std::size_t, kRowTile>());
  const auto in_order = [&](std::size_t rows) { return rows * weight.row_bytes() <= kLargestTileInOrder; };
  if (!in_order(kLoneTokenRowTile) && in_order(kLoneTokenLongRowTile)) {
    multiply_tiles(std::integral_constant<std::size_t, kLoneTokenLongRowTile>());
  }
  multiply_tiles(std::integral_constant<std::size_t, kLoneTokenRowTile>());
  for (; r < last; ++r) {
    multiply_row_tile<1, Streamed>(elements + r * weight.columns, weight.columns, input, output.data() + r,
                                   output.stride());
  }
}

template <typename Element>
void multiply_rows_of(const WeightMatrix& weight, MatrixView<const float> input, MatrixView<float> output,
                      std::size_t first, std::size_t last) {
  // Many tokens go over a row tile several times, and need it in the first-level cache for that.
  const bool once = input.rows() <= kTokenTile || kRowTile * weight.row_bytes() <= kLargestTileInOrder;
  if (weight.streamed && once) return multiply_rows<true, Element>(weight, input, output, first, last);
  return multiply_rows<false, Element>(weight, input, output, first, last);
}

}  // namespace

void gemv(const WeightMatrix& weight, MatrixView<const float> input, MatrixView<float> output, std::size_t first,
          std::size_t last) {
  switch (weight.type) {
    case DataType::kBF16:
      return multiply_rows_of<BFloat16>(weight, input, output, first, last);
    case DataType::kF16:
      return multiply_rows_of<Float16>(weight, input, output, first, last);
    default:
      return multiply_rows_of<float>(weight, input, output, first, last);
  }
}

}  // namespace flame::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace flame::kernels {
namespace {

HWY_EXPORT(gemv);

// Row tiles of every instruction set divide it, so that ranges end on whole tiles.
constexpr std::size_t kRangeRows = 16;
// Bytes of ranges that are worth handing to another thread.
constexpr std::size_t kGrainBytes = std::size_t{32} << 10;

std::size_t ranges_of(const WeightMatrix& weight) { return (weight.rows + kRangeRows - 1) / kRangeRows; }

std::size_t grain_for(std::size_t row_bytes) { return kGrainBytes / (row_bytes * kRangeRows) + 1; }

}  // namespace

void linear(const WeightMatrix& weight, MatrixView<const float> input, MatrixView<float> output) {
  const LinearProduct product{weight, output};
  linear({&product, 1}, input);
}

void linear(std::span<const LinearProduct> products, MatrixView<const float> input) {
  std::size_t ranges = 0;
  std::size_t row_bytes = 1;
  for (const auto& [weight, output] : products) {
    assert(input.columns() == weight.columns && output.columns() == weight.rows && output.rows() == input.rows());
    assert(weight.type == DataType::kF32 || weight.type == DataType::kBF16 || weight.type == DataType::kF16);
    if (input.rows() > kMaxGemvTokens) gemm(weight, input, output);
    ranges += ranges_of(weight);
    row_bytes = std::max(row_bytes, weight.row_bytes());
  }
  if (input.rows() == 0 || input.rows() > kMaxGemvTokens) return;
  const auto multiply = HWY_DYNAMIC_DISPATCH(gemv);
  // The ranges of all matrices, one matrix behind the other.
  ThreadPool::parallel_for(ranges, grain_for(row_bytes), [&](std::size_t begin, std::size_t end) {
    for (const auto& [weight, output] : products) {
      const std::size_t own = ranges_of(weight);
      if (begin < std::min(own, end)) {
        multiply(weight, input, output, begin * kRangeRows, std::min(std::min(own, end) * kRangeRows, weight.rows));
      }
      if (end <= own) return;
      begin = begin > own ? begin - own : 0;
      end -= own;
    }
  });
}

void linear_reference(const WeightMatrix& weight, MatrixView<const float> input, MatrixView<float> output) {
  for (std::size_t t = 0; t < input.rows(); ++t) {
    for (std::size_t r = 0; r < weight.rows; ++r) {
      double sum = 0.0;
      for (std::size_t c = 0; c < weight.columns; ++c) {
        sum += static_cast<double>(weight_at(weight, r, c)) * static_cast<double>(input.row(t)[c]);
      }
      output.row(t)[r] = static_cast<float>(sum);
    }
  }
}

}  // namespace flame::kernels
#endif  // HWY_ONCE
