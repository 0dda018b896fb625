#include "flame/sparsity/pack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "flame/base/error.h"

namespace flame::sparsity {
namespace {

using kernels::PackedFormat;
using kernels::PackedLayout;
using kernels::PackedMatrixView;
using kernels::PackedType;

/// Random weights of which each group keeps at most n; now and then fewer.
Matrix<float> pruned_matrix(std::size_t rows, std::size_t columns, const PackedFormat& format, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-2.0F, 2.0F);
  Matrix<float> matrix(rows, columns, 0.0F);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t start = 0; start < columns; start += format.m) {
      std::vector<std::size_t> places(std::min<std::size_t>(format.m, columns - start));
      for (std::size_t i = 0; i < places.size(); ++i) places[i] = start + i;
      std::ranges::shuffle(places, random);
      const std::size_t kept = std::min<std::size_t>(places.size(), format.n - (random() % 8 == 0 ? 1U : 0U));
      for (std::size_t i = 0; i < kept; ++i) matrix.row(r)[places[i]] = uniform(random);
    }
  }
  return matrix;
}

Matrix<float> unpack(const PackedFormat& format, const Matrix<float>& like, std::span<const std::byte> bytes) {
  Matrix<float> result(like.rows(), like.columns());
  kernels::unpack_rows({PackedLayout(format, like.rows(), like.columns()), bytes}, 0, like.rows(), result);
  return result;
}

RC_GTEST_PROP(PackTest, UnpackingReturnsExactlyTheQuantisedWeights, ()) {
  PackedFormat format;
  format.m = *rc::gen::inRange<std::uint8_t>(1, 17);
  format.n = *rc::gen::inRange<std::uint8_t>(1, static_cast<std::uint8_t>(format.m + 1));
  format.type = *rc::gen::element(PackedType::kF32, PackedType::kBF16, PackedType::kInt8, PackedType::kInt4);
  format.int4_group = *rc::gen::element<std::uint8_t>(32, 64);
  const auto rows = *rc::gen::inRange<std::size_t>(1, 40);
  const auto columns = *rc::gen::inRange<std::size_t>(1, 300);
  const auto seed = *rc::gen::arbitrary<unsigned>();

  Matrix<float> dense = pruned_matrix(rows, columns, format, seed);
  const std::vector<std::byte> bytes = pack_matrix(format, dense);
  RC_ASSERT(bytes.size() == PackedLayout(format, rows, columns).size_bytes());
  quantise_rows(format, dense);
  const Matrix<float> unpacked = unpack(format, dense, bytes);
  for (std::size_t r = 0; r < rows; ++r) RC_ASSERT(std::ranges::equal(unpacked.row(r), dense.row(r)));
}

TEST(PackTest, SizesOfASwitchBaseExpertAreExact) {
  const PackedFormat format{2, 4, PackedType::kInt8, 64};
  const kernels::PackedExpertLayout expert{format, 768, 3072, false, kernels::Activation::kRelu};
  EXPECT_EQ(expert.wi().value_bytes() + expert.wo().value_bytes(), 2359296U);
  EXPECT_EQ(expert.wi().index_bytes() + expert.wo().index_bytes(), 589824U);
  EXPECT_EQ(expert.wi().scale_bytes() + expert.wo().scale_bytes(), (3072U + 768U) * 4U);
  EXPECT_EQ(expert.size_bytes(), 2359296U + 589824U + 15360U);
}

TEST(PackTest, IndexBitsAreTheCeilingOfTheLogarithm) {
  const auto bits = [](std::uint8_t n, std::uint8_t m) {
    return PackedFormat{n, m, PackedType::kInt8, 64}.index_bits();
  };
  EXPECT_EQ(bits(1, 2), 1U);
  EXPECT_EQ(bits(2, 3), 2U);
  EXPECT_EQ(bits(2, 4), 2U);
  EXPECT_EQ(bits(1, 5), 3U);
  EXPECT_EQ(bits(4, 8), 3U);
  EXPECT_EQ(bits(1, 9), 4U);
  EXPECT_EQ(bits(2, 16), 4U);
  EXPECT_EQ(bits(4, 4), 0U);
  EXPECT_EQ(bits(1, 1), 0U);
}

TEST(PackTest, BytesLieAsDocumented) {
  // One row of 1:4 int8: 127 at column 2, -64 at column 7.
  Matrix<float> dense(1, 8, 0.0F);
  dense.row(0)[2] = 1.0F;
  dense.row(0)[7] = -64.0F / 127.0F;
  const std::vector<std::byte> bytes = pack_matrix({1, 4, PackedType::kInt8, 64}, dense);
  ASSERT_EQ(bytes.size(), 4U + 2U + 1U);
  float scale = 0.0F;
  std::memcpy(&scale, bytes.data(), sizeof(scale));
  EXPECT_EQ(scale, 1.0F / 127.0F);
  EXPECT_EQ(bytes[4], std::byte{127});
  EXPECT_EQ(bytes[5], std::byte{0xc0});    // -64
  EXPECT_EQ(bytes[6], std::byte{0b1110});  // position 2, then 3, from the low end
}

TEST(PackTest, RowsCanBePackedInParts) {
  const PackedFormat format{2, 4, PackedType::kInt8, 64};
  const Matrix<float> dense = pruned_matrix(50, 100, format, 1);
  const PackedLayout layout(format, 50, 100);
  std::vector<std::byte> in_parts(layout.size_bytes(), std::byte{0xff});
  pack_rows(layout, 32, dense.view().rows_from(32, 18), in_parts);
  pack_rows(layout, 0, dense.view().rows_from(0, 32), in_parts);
  EXPECT_EQ(in_parts, pack_matrix(format, dense));
}

TEST(PackTest, AMaskChoosesWhatIsKept) {
  const PackedFormat format{2, 4, PackedType::kF32, 64};
  Matrix<float> dense(1, 6);
  for (std::size_t c = 0; c < 6; ++c) dense.row(0)[c] = static_cast<float>(c + 1);
  Matrix<std::uint8_t> keep(1, 6, 0);
  keep.row(0)[1] = keep.row(0)[3] = keep.row(0)[4] = 1;
  std::vector<std::byte> bytes(PackedLayout(format, 1, 6).size_bytes());
  pack_rows(PackedLayout(format, 1, 6), 0, dense, keep, bytes);
  EXPECT_THAT(unpack(format, dense, bytes).row(0), testing::ElementsAre(0, 2, 0, 4, 5, 0));
}

TEST(PackTest, AGroupThatKeepsTooManyIsRefusedByRowAndColumns) {
  Matrix<float> dense(3, 12, 0.0F);
  dense.row(2)[4] = dense.row(2)[5] = dense.row(2)[7] = 1.0F;
  try {
    static_cast<void>(pack_matrix({2, 4, PackedType::kInt8, 64}, dense));
    FAIL() << "no exception";
  } catch (const ModelError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("row 2 has 3 weights to keep in columns 4 to 7"));
  }
}

TEST(PackTest, WeightsThatAreNotFiniteAreRefused) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Matrix<float> dense(1, 4, 0.0F);
    dense.row(0)[1] = bad;
    for (const PackedType type : {PackedType::kF32, PackedType::kBF16, PackedType::kInt8, PackedType::kInt4}) {
      EXPECT_THROW(static_cast<void>(pack_matrix({2, 4, type, 64}, dense)), ModelError);
      EXPECT_THROW(quantise_rows({2, 4, type, 64}, dense), ModelError);
    }
  }
}

TEST(PackTest, ValuesPastTheRangeOfTheTypeAreRefused) {
  Matrix<float> dense(1, 4, 0.0F);
  dense.row(0)[1] = std::numeric_limits<float>::max();
  EXPECT_THROW(static_cast<void>(pack_matrix({2, 4, PackedType::kBF16, 64}, dense)), ModelError);
  EXPECT_THROW(static_cast<void>(pack_matrix({2, 4, PackedType::kInt4, 64}, dense)), ModelError);
  EXPECT_NO_THROW(static_cast<void>(pack_matrix({2, 4, PackedType::kInt8, 64}, dense)));
}

TEST(PackTest, ErrorsOfQuantisationStayWithinHalfAStep) {
  const PackedFormat int8{4, 8, PackedType::kInt8, 64};
  const PackedFormat int4{4, 8, PackedType::kInt4, 32};
  const Matrix<float> dense = pruned_matrix(20, 200, int8, 3);
  Matrix<float> as_int8 = dense;
  Matrix<float> as_int4 = dense;
  quantise_rows(int8, as_int8);
  quantise_rows(int4, as_int4);
  for (std::size_t r = 0; r < 20; ++r) {
    for (std::size_t c = 0; c < 200; ++c) {
      EXPECT_LE(std::fabs(as_int8.row(r)[c] - dense.row(r)[c]), 0.501F * 2.0F / 127.0F);
      EXPECT_LE(std::fabs(as_int4.row(r)[c] - dense.row(r)[c]), 0.51F * 2.0F / 7.0F);
    }
  }
}

TEST(PackTest, FormatsThatCannotBeAreRefused) {
  EXPECT_THROW(PackedLayout({0, 4, PackedType::kInt8, 64}, 4, 4), UsageError);
  EXPECT_THROW(PackedLayout({5, 4, PackedType::kInt8, 64}, 4, 4), UsageError);
  EXPECT_THROW(PackedLayout({1, 17, PackedType::kInt8, 64}, 4, 4), UsageError);
  EXPECT_THROW(PackedLayout({1, 4, PackedType::kInt4, 48}, 4, 4), UsageError);
  EXPECT_THROW(PackedLayout({1, 4, PackedType::kInt8, 64}, 0, 4), UsageError);
  EXPECT_THROW(PackedLayout({1, 4, PackedType::kF32, 64}, std::size_t{1} << 31, std::size_t{1} << 31), UsageError);
  EXPECT_THROW(PackedLayout({1, 4, PackedType::kInt8, 64}, 4, std::size_t{1} << 17), UsageError);
}

TEST(PackTest, OnlyWholeBlocksCountInAPrefix) {
  const PackedLayout layout({2, 4, PackedType::kInt8, 64}, 40, 64);
  EXPECT_EQ(layout.rows_in_prefix(0), 0U);
  EXPECT_EQ(layout.rows_in_prefix(layout.block_offset(1) - 1), 0U);
  EXPECT_EQ(layout.rows_in_prefix(layout.block_offset(1)), 16U);
  EXPECT_EQ(layout.rows_in_prefix(layout.block_offset(2)), 32U);
  EXPECT_EQ(layout.rows_in_prefix(layout.size_bytes() - 1), 32U);
  EXPECT_EQ(layout.rows_in_prefix(layout.size_bytes()), 40U);
  EXPECT_EQ(layout.block_offset(3), layout.size_bytes());
}

}  // namespace
}  // namespace flame::sparsity
