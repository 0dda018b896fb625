#include "flame/kernels/packed_linear.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <vector>

#include "flame/base/thread_pool.h"
#include "flame/kernels/int8_vectors.h"
#include "flame/kernels/packed_block.h"
#include "flame/kernels/packed_kernels.h"

namespace flame::kernels {
namespace {

// Bytes of a matrix worth handing to another thread.
constexpr std::size_t kRangeBytes = std::size_t{32} << 10;

// Elements of a prepared token: a kernel reads m / n inputs for each of a chunk's values, also in a short last chunk,
// and a position may point up to 15 past a group's start.
std::size_t token_stride(const PackedLayout& layout) {
  const PackedFormat& format = layout.format();
  const std::size_t by_chunks = (layout.chunks() * kPackedChunk + format.n - 1) / format.n * format.m;
  const std::size_t needed = std::max(by_chunks, layout.padded_columns() + 16);
  return (needed + 63) / 64 * 64;
}

bool has_integers(const PackedFormat& format) {
  return format.type == PackedType::kInt8 || format.type == PackedType::kInt4;
}

void multiply(const PackedMatrixView& matrix, const PackedInput& input, std::size_t first, std::size_t count,
              const BlockOutput& output) {
  const PackedLayout& layout = matrix.layout;
  assert(matrix.bytes.size() == layout.size_bytes() && input.columns() == layout.columns());
  assert(first % kPackedBlockRows == 0 && first <= layout.rows() && count <= layout.rows() - first);
  assert(count % kPackedBlockRows == 0 || first + count == layout.rows());
  if (count == 0 || input.tokens() == 0) return;
  const BlockKernel kernel = choose_block_kernel(layout.format());
  const std::size_t first_block = first / kPackedBlockRows;
  const std::size_t blocks = (count + kPackedBlockRows - 1) / kPackedBlockRows;
  const std::size_t grain = kRangeBytes / (kPackedBlockRows * layout.row_bytes()) + 1;
  ThreadPool::parallel_for(blocks, grain, [&](std::size_t begin, std::size_t end) {
    kernel(matrix, first_block + begin, first_block + end, input, output);
  });
}

}  // namespace

void PackedInput::reset(const PackedLayout& layout, std::size_t tokens) {
  tokens_ = tokens;
  columns_ = layout.columns();
  stride_ = token_stride(layout);
  code_offset_ = 0;
  if (has_integers(layout.format())) {
    codes_.resize(std::max(codes_.size(), tokens * stride_));
    scales_.resize(std::max(scales_.size(), tokens));
  } else {
    floats_.resize(std::max(floats_.size(), tokens * stride_));
  }
}

void PackedInput::store_codes(std::size_t token, std::span<const std::int8_t> codes) {
  std::uint8_t* stored = codes_.data() + token * stride_;
  const auto offset = static_cast<std::uint8_t>(code_offset_);
  for (std::size_t c = 0; c < columns_; ++c) stored[c] = static_cast<std::uint8_t>(codes[c] + offset);
  std::fill(stored + columns_, stored + stride_, offset);
}

void PackedInput::assign(const PackedLayout& layout, MatrixView<const float> tokens) {
  assert(tokens.columns() == layout.columns());
  reset(layout, tokens.rows());
  if (!has_integers(layout.format())) {
    for (std::size_t t = 0; t < tokens_; ++t) {
      float* stored = floats_.data() + t * stride_;
      std::ranges::copy(tokens.row(t), stored);
      std::fill(stored + columns_, stored + stride_, 0.0F);
    }
    return;
  }
  code_offset_ = 128;
  thread_local std::vector<std::int8_t> codes;
  codes.resize(columns_);
  for (std::size_t t = 0; t < tokens_; ++t) {
    scales_[t] = quantise_symmetric_fast(tokens.row(t), codes);
    store_codes(t, codes);
  }
}

void PackedInput::assign(const PackedLayout& layout, MatrixView<const std::int8_t> codes,
                         std::span<const float> scales) {
  assert(has_integers(layout.format()) && codes.columns() == layout.columns() && scales.size() == codes.rows());
  reset(layout, codes.rows());
  std::ranges::copy(scales, scales_.begin());
  const auto is_negative = [](std::int8_t code) { return code < 0; };
  for (std::size_t t = 0; t < tokens_ && code_offset_ == 0; ++t) {
    if (std::ranges::any_of(codes.row(t), is_negative)) code_offset_ = 128;
  }
  for (std::size_t t = 0; t < tokens_; ++t) store_codes(t, codes.row(t));
}

PackedBlock fill_up_block(const PackedBlock& block, std::vector<std::byte>& memory) {
  if (block.rows == kPackedBlockRows) return block;
  const PackedLayout& layout = block.layout;
  memory.assign(kPackedBlockRows * layout.row_bytes(), std::byte{});
  const std::byte* source = block.bytes;
  std::byte* target = memory.data();
  const auto copy_rows = [&](std::size_t row_bytes) {
    std::copy_n(source, block.rows * row_bytes, target);
    source += block.rows * row_bytes;
    target += kPackedBlockRows * row_bytes;
  };
  copy_rows(layout.row_scale_bytes());
  for (std::size_t chunk = 0; chunk < layout.chunks(); ++chunk) {
    copy_rows(layout.value_bytes_of(layout.chunk_values(chunk)));
    copy_rows(layout.index_bytes_of(layout.chunk_values(chunk)));
  }
  return {layout, memory.data(), kPackedBlockRows, memory.data() + memory.size()};
}

void store_int8_sums(const PackedBlock& block, const PackedInput& input, std::size_t token, std::size_t first_row,
                     std::size_t rows, const std::int32_t* sums, const BlockOutput& output) {
  const std::size_t place = token * output.stride + first_row;
  if (output.sums != nullptr) {
    std::copy_n(sums, rows, output.sums + place);
    return;
  }
  float scales[kPackedBlockRows];
  std::memcpy(scales, block.bytes + first_row * sizeof(float), rows * sizeof(float));
  for (std::size_t r = 0; r < rows; ++r)
    output.values[place + r] = output_value(sums[r], scales[r], input.scale(token));
}

void packed_linear(const PackedMatrixView& matrix, const PackedInput& input, std::size_t first, std::size_t count,
                   MatrixView<float> output, const PackedEpilogue& epilogue) {
  assert(output.rows() == input.tokens() && output.columns() == matrix.layout.rows());
  BlockOutput results;
  results.values = output.data();
  results.stride = output.stride();
  results.relu = epilogue.relu;
  if (!epilogue.multipliers.empty()) {
    assert(epilogue.multipliers.rows() == output.rows() && epilogue.multipliers.columns() == output.columns());
    results.multipliers = epilogue.multipliers.data();
    results.multiplier_stride = epilogue.multipliers.stride();
  }
  if (!epilogue.token_factors.empty()) {
    assert(epilogue.token_factors.size() == output.rows());
    results.token_factors = epilogue.token_factors.data();
  }
  multiply(matrix, input, first, count, results);
}

void packed_linear_sums(const PackedMatrixView& matrix, const PackedInput& input, std::size_t first, std::size_t count,
                        MatrixView<std::int32_t> output) {
  assert(matrix.layout.format().type == PackedType::kInt8);
  assert(output.rows() == input.tokens() && output.columns() == matrix.layout.rows());
  BlockOutput results;
  results.sums = output.data();
  results.stride = output.stride();
  multiply(matrix, input, first, count, results);
}

void packed_linear(const PackedMatrixView& matrix, MatrixView<const float> tokens, MatrixView<float> output) {
  PackedInput input;
  input.assign(matrix.layout, tokens);
  packed_linear(matrix, input, 0, matrix.layout.rows(), output);
}

void packed_linear_reference(const PackedMatrixView& matrix, const PackedInput& input, MatrixView<float> output) {
  const PackedLayout& layout = matrix.layout;
  for (std::size_t t = 0; t < input.tokens(); ++t) {
    for (std::size_t r = 0; r < layout.rows(); ++r) {
      std::int64_t integer_sum = 0;
      double sum = 0.0;
      for (std::size_t i = 0; i < layout.kept(); ++i) {
        const PackedEntry entry = packed_entry(matrix, r, i);
        if (entry.column >= layout.columns()) continue;
        if (has_integers(layout.format())) {
          const std::int32_t code = input.codes(t)[entry.column] - input.code_offset();
          integer_sum += std::int64_t{entry.integer} * code;
          sum += static_cast<double>(entry.value) * code;
        } else {
          sum += static_cast<double>(entry.value) * static_cast<double>(input.floats(t)[entry.column]);
        }
      }
      float& result = output.row(t)[r];
      if (layout.format().type == PackedType::kInt8) {
        result = output_value(static_cast<std::int32_t>(integer_sum), packed_scale(matrix, r, 0), input.scale(t));
      } else if (layout.format().type == PackedType::kInt4) {
        result = static_cast<float>(sum * static_cast<double>(input.scale(t)));
      } else {
        result = static_cast<float>(sum);
      }
    }
  }
}

}  // namespace flame::kernels
