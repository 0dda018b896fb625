#include "flame/sparsity/baselines.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "flame/base/error.h"

namespace flame::sparsity {
namespace {

Matrix<float> draw_matrix(std::size_t rows, std::size_t columns) {
  Matrix<float> weights(rows, columns);
  for (std::size_t r = 0; r < rows; ++r) {
    for (float& weight : weights.row(r)) weight = static_cast<float>(*rc::gen::inRange(-9, 10)) + 0.25F;
  }
  return weights;
}

std::size_t count_kept(const Matrix<float>& weights) {
  return weights.rows() * weights.columns() -
         static_cast<std::size_t>(
             std::count(weights.data(), weights.data() + weights.rows() * weights.columns(), 0.0F));
}

RC_GTEST_PROP(Unstructured, KeepsTheLargestOfTheMatrix, ()) {
  const auto rows = static_cast<std::size_t>(*rc::gen::inRange(1, 12));
  const auto columns = static_cast<std::size_t>(*rc::gen::inRange(1, 12));
  const double sparsity = *rc::gen::inRange(0, 101) / 100.0;
  const Matrix<float> weights = draw_matrix(rows, columns);
  Matrix<float> pruned = weights;
  prune_unstructured(sparsity, pruned);

  const std::size_t count = rows * columns;
  RC_ASSERT(count_kept(pruned) ==
            static_cast<std::size_t>(std::llround((1.0 - sparsity) * static_cast<double>(count))));
  for (std::size_t i = 0; i < count; ++i) {
    RC_ASSERT(pruned.data()[i] == 0.0F || pruned.data()[i] == weights.data()[i]);
    for (std::size_t j = 0; j < count; ++j) {
      if (pruned.data()[i] == 0.0F || pruned.data()[j] != 0.0F) continue;
      const float kept = std::fabs(weights.data()[i]);
      const float removed = std::fabs(weights.data()[j]);
      RC_ASSERT(kept > removed || (kept == removed && i < j));
    }
  }
}

TEST(ColumnBlocks, EveryBlockKeepsItsColumnsOfLargestNorm) {
  Matrix<float> weights(4, 4);
  const float values[4][4] = {{1, 3, 0, 5}, {1, 0, 2, 5}, {9, 1, 1, 2}, {0, 1, 8, 2}};
  for (std::size_t r = 0; r < 4; ++r) std::copy(values[r], values[r] + 4, weights.row(r).data());
  prune_column_blocks(0.5, BlockShape{2, 2}, weights);
  const float expected[4][4] = {{0, 3, 0, 5}, {0, 0, 0, 5}, {9, 0, 1, 0}, {0, 0, 8, 0}};
  for (std::size_t r = 0; r < 4; ++r) {
    for (std::size_t c = 0; c < 4; ++c) EXPECT_EQ(weights.row(r)[c], expected[r][c]) << r << ", " << c;
  }
}

RC_GTEST_PROP(ColumnBlocks, AreBalanced, ()) {
  const auto rows = static_cast<std::size_t>(*rc::gen::inRange(1, 20));
  const auto columns = static_cast<std::size_t>(*rc::gen::inRange(1, 20));
  const BlockShape block{static_cast<std::size_t>(*rc::gen::inRange(1, 9)),
                         static_cast<std::size_t>(*rc::gen::inRange(1, 9))};
  const double sparsity = *rc::gen::inRange(0, 101) / 100.0;
  Matrix<float> pruned = draw_matrix(rows, columns);
  prune_column_blocks(sparsity, block, pruned);
  std::size_t before = 0;
  for (std::size_t top = 0; top < rows; top += block.rows) {
    for (std::size_t left = 0; left < columns; left += block.columns) {
      const std::size_t bottom = std::min(rows, top + block.rows);
      const std::size_t right = std::min(columns, left + block.columns);
      std::size_t whole = 0;
      for (std::size_t c = left; c < right; ++c) {
        std::size_t kept = 0;
        for (std::size_t r = top; r < bottom; ++r) kept += pruned.row(r)[c] != 0.0F ? 1 : 0;
        RC_ASSERT(kept == 0 || kept == bottom - top);
        whole += kept > 0 ? 1 : 0;
      }
      RC_ASSERT(whole == kept_columns(sparsity, before, right - left));
      RC_ASSERT(std::fabs(static_cast<double>(whole) - (1.0 - sparsity) * static_cast<double>(right - left)) <= 1.0);
      before += right - left;
    }
  }
  // All blocks together, to one column.
  const double kept = static_cast<double>(kept_columns(sparsity, 0, before));
  RC_ASSERT(std::fabs(kept - (1.0 - sparsity) * static_cast<double>(before)) <= 0.5 + 1e-9);
}

TEST(ColumnBlocks, ReachASparsityThatIsLessThanAColumnOfABlock) {
  Matrix<float> weights(64, 64, 1.0F);
  prune_column_blocks(0.01, BlockShape{32, 32}, weights);  // of 4 * 32 columns 1.28
  EXPECT_EQ(std::count(weights.data(), weights.data() + 64 * 64, 0.0F), 32);
}

TEST(BlockShape, IsReadAndRefused) {
  EXPECT_EQ(parse_block_shape("16x64"), (BlockShape{16, 64}));
  for (const char* text : {"", "16", "x", "0x4", "4x0", "4x4x4", "-1x4", "a4x4", "9999999x4"}) {
    EXPECT_THROW(static_cast<void>(parse_block_shape(text)), UsageError) << text;
  }
}

}  // namespace
}  // namespace flame::sparsity
