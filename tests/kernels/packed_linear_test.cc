#include "flame/kernels/packed_linear.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <limits>
#include <random>
#include <string>

#include "flame/kernels/packed_kernels.h"
#include "kernel_test.h"
#include "packed_test.h"

namespace flame::kernels {
namespace {

constexpr PackedType kTypes[] = {PackedType::kF32, PackedType::kBF16, PackedType::kInt8, PackedType::kInt4};

struct Pattern {
  std::uint8_t n;
  std::uint8_t m;
};
// Those with a kernel of their own first, then some for the general one.
constexpr Pattern kFastPatterns[] = {{1, 1}, {1, 4}, {2, 4}, {2, 8}, {4, 8}, {1, 8}, {2, 16}, {4, 16}, {1, 2}, {8, 16}};
constexpr Pattern kOtherPatterns[] = {{3, 3}, {4, 4}, {1, 3}, {2, 3},  {3, 4},
                                      {2, 5}, {5, 8}, {3, 7}, {1, 16}, {15, 16}};

float tolerance_of(const PackedFormat& format, std::size_t kept) {
  switch (format.type) {
    case PackedType::kInt8:
      return 0.0F;
    case PackedType::kInt4:
      return 0.07F * sum_tolerance(kept);  // |weight| <= 7 * 0.01, |token| <= 1
    default:
      return sum_tolerance(kept);
  }
}

class PackedLinearTest : public KernelTest {
 protected:
  static Matrix<float> multiply(const PackedMatrixView& matrix, const PackedInput& input) {
    Matrix<float> output(input.tokens(), matrix.layout.rows(), std::numeric_limits<float>::quiet_NaN());
    packed_linear(matrix, input, 0, matrix.layout.rows(), output);
    return output;
  }

  static void expect_equals_reference(const PackedFormat& format, std::size_t rows, std::size_t columns,
                                      std::size_t tokens, unsigned seed) {
    const RandomPacked matrix(format, rows, columns, seed);
    const Matrix<float> tokens_matrix = random_matrix(tokens, columns, seed + 1);
    PackedInput input;
    input.assign(matrix.view().layout, tokens_matrix);
    Matrix<float> expected(tokens, rows);
    packed_linear_reference(matrix.view(), input, expected);
    expect_near(multiply(matrix.view(), input), expected, tolerance_of(format, matrix.view().layout.kept()),
                format.describe() + " " + std::to_string(rows) + "x" + std::to_string(columns) + ", " +
                    std::to_string(tokens) + " tokens");
  }
};

TEST_P(PackedLinearTest, EveryPatternAndTypeEqualsTheReference) {
  std::size_t cases = 0;
  const auto check_all = [&](const auto& patterns) {
    for (const Pattern pattern : patterns) {
      for (const PackedType type : kTypes) {
        for (const std::uint8_t group : {std::uint8_t{32}, std::uint8_t{64}}) {
          if (type != PackedType::kInt4 && group == 32) continue;
          // Whole chunks only, a tail, less than a chunk; whole blocks only and a short one; around the token tile.
          // Tails of more and of less than half a chunk.
          for (const std::size_t columns : {1024UL, 700UL, 450UL, 37UL}) {
            for (const std::size_t tokens : {1UL, 5UL}) {
              expect_equals_reference({pattern.n, pattern.m, type, group}, 32 + columns % 7, columns, tokens, 1);
              ++cases;
            }
          }
        }
      }
    }
  };
  check_all(kFastPatterns);
  check_all(kOtherPatterns);
  EXPECT_EQ(cases, 20U * 5U * 4U * 2U);
}

TEST_P(PackedLinearTest, RandomShapesEqualTheReference) {
  const bool holds = rc::check("random shapes", [] {
    PackedFormat format;
    format.m = *rc::gen::inRange<std::uint8_t>(1, 17);
    format.n = *rc::gen::inRange<std::uint8_t>(1, static_cast<std::uint8_t>(format.m + 1));
    format.type = *rc::gen::elementOf(std::vector<PackedType>(std::begin(kTypes), std::end(kTypes)));
    format.int4_group = *rc::gen::element<std::uint8_t>(32, 64);
    expect_equals_reference(format, *rc::gen::inRange<std::size_t>(1, 50), *rc::gen::inRange<std::size_t>(1, 600),
                            *rc::gen::inRange<std::size_t>(1, 18), *rc::gen::arbitrary<unsigned>());
    RC_ASSERT(!testing::Test::HasFailure());
  });
  EXPECT_TRUE(holds);
}

// Positions past a group's end (where m is no power of two) and any scales and values: whatever a file may hold.
TEST_P(PackedLinearTest, AnyBytesAreSafeToComputeOn) {
  const bool holds = rc::check("random bytes", [] {
    PackedFormat format;
    format.m = *rc::gen::inRange<std::uint8_t>(1, 17);
    format.n = *rc::gen::inRange<std::uint8_t>(1, static_cast<std::uint8_t>(format.m + 1));
    format.type = *rc::gen::elementOf(std::vector<PackedType>(std::begin(kTypes), std::end(kTypes)));
    const PackedLayout layout(format, *rc::gen::inRange<std::size_t>(1, 40), *rc::gen::inRange<std::size_t>(1, 400));
    const auto tokens = *rc::gen::inRange<std::size_t>(1, 6);
    const GuardedBytes bytes(layout.size_bytes());
    std::mt19937 random(*rc::gen::arbitrary<unsigned>());
    for (std::byte& byte : bytes.span()) byte = static_cast<std::byte>(random());
    const PackedMatrixView matrix{layout, bytes.span()};
    PackedInput input;
    input.assign(layout, random_matrix(tokens, layout.columns(), 1));
    static_cast<void>(multiply(matrix, input));
    if (format.type != PackedType::kInt8) return;
    // Integers stay exact: a position past the end of a group is the input that stands there, or nothing. Only -128,
    // which no packer writes, has no negative.
    Matrix<std::int32_t> sums(tokens, layout.rows());
    packed_linear_sums(matrix, input, 0, layout.rows(), sums);
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t r = 0; r < layout.rows(); ++r) {
        std::int32_t expected = 0;
        bool written_by_packers = true;
        for (std::size_t i = 0; i < layout.kept(); ++i) {
          const PackedEntry entry = packed_entry(matrix, r, i);
          written_by_packers = written_by_packers && entry.integer != -128;
          if (entry.column < layout.columns()) {
            expected += entry.integer * (input.codes(t)[entry.column] - input.code_offset());
          }
        }
        if (written_by_packers) RC_ASSERT(sums.row(t)[r] == expected);
      }
    }
  });
  EXPECT_TRUE(holds);
}

TEST_P(PackedLinearTest, ATokenDependsNeitherOnItsNeighboursNorOnThreadsNorOnHowRowsAreCut) {
  for (const PackedType type : kTypes) {
    for (const Pattern pattern : {Pattern{2, 4}, Pattern{1, 4}, Pattern{1, 1}, Pattern{3, 5}}) {
      const RandomPacked matrix({pattern.n, pattern.m, type, 64}, 250, 300, 3);
      const Matrix<float> tokens = random_matrix(11, 300, 4);
      PackedInput input;
      input.assign(matrix.view().layout, tokens);
      ThreadPool::set_threads(4);
      const Matrix<float> together = multiply(matrix.view(), input);
      ThreadPool::set_threads(1);
      for (std::size_t t = 0; t < 11; ++t) {
        PackedInput alone;
        alone.assign(matrix.view().layout, tokens.view().rows_from(t, 1));
        Matrix<float> output(1, 250);
        for (std::size_t first = 0; first < 250; first += 48) {
          packed_linear(matrix.view(), alone, first, std::min<std::size_t>(48, 250 - first), output);
        }
        for (std::size_t r = 0; r < 250; ++r) {
          ASSERT_EQ(output.row(0)[r], together.row(t)[r]) << matrix.view().layout.format().describe();
        }
      }
    }
  }
}

TEST_P(PackedLinearTest, OnlyTheRowsAskedForAreReadAndWritten) {
  // Kernels that prefetch, and those that read kilobytes ahead.
  for (const PackedFormat format :
       {PackedFormat{2, 4, PackedType::kInt8, 64}, PackedFormat{1, 8, PackedType::kInt8, 64},
        PackedFormat{2, 8, PackedType::kBF16, 64}, PackedFormat{2, 4, PackedType::kInt4, 64},
        PackedFormat{1, 8, PackedType::kF32, 64}}) {
    const RandomPacked matrix(format, 64, 1100, 5);
    const PackedLayout& layout = matrix.view().layout;
    // The first two blocks alone before an inaccessible page.
    const GuardedBytes first_blocks(layout.block_offset(2));
    std::copy_n(matrix.view().bytes.begin(), first_blocks.span().size(), first_blocks.data());
    PackedInput input;
    input.assign(layout, random_matrix(1, 1100, 6));
    const float nan = std::numeric_limits<float>::quiet_NaN();
    Matrix<float> output(1, 64, nan);
    packed_linear({layout, {first_blocks.data(), layout.size_bytes()}}, input, 0, 32, output);
    const Matrix<float> whole = multiply(matrix.view(), input);
    for (std::size_t r = 0; r < 64; ++r) {
      if (r < 32) {
        EXPECT_EQ(output.row(0)[r], whole.row(0)[r]) << format.describe();
      } else {
        EXPECT_TRUE(std::isnan(output.row(0)[r])) << format.describe();
      }
    }
  }
}

TEST_P(PackedLinearTest, AnEpilogueDoesToEveryResultWhatTheSameOperationsDoLater) {
  for (const PackedType type : kTypes) {
    for (const Pattern pattern : {Pattern{2, 4}, Pattern{1, 8}, Pattern{1, 1}, Pattern{3, 5}}) {
      const RandomPacked matrix({pattern.n, pattern.m, type, 64}, 75, 200, 9);
      const Matrix<float> tokens = random_matrix(6, 200, 10);
      const Matrix<float> multipliers = random_matrix(6, 75, 11);
      const std::vector<float> factors = {0.25F, 0.3F, -1.0F, 0.0F, 2.0F, 0.7F};
      PackedInput input;
      input.assign(matrix.view().layout, tokens);
      const Matrix<float> plain = multiply(matrix.view(), input);
      PackedEpilogue epilogue;
      epilogue.relu = true;
      epilogue.multipliers = multipliers;
      epilogue.token_factors = factors;
      Matrix<float> output(6, 75);
      packed_linear(matrix.view(), input, 0, 32, output, epilogue);
      packed_linear(matrix.view(), input, 32, 43, output, epilogue);
      for (std::size_t t = 0; t < 6; ++t) {
        for (std::size_t r = 0; r < 75; ++r) {
          const float positive = plain.row(t)[r] < 0.0F ? 0.0F : plain.row(t)[r];
          ASSERT_EQ(output.row(t)[r], positive * multipliers.row(t)[r] * factors[t])
              << matrix.view().layout.format().describe();
        }
      }
    }
  }
}

TEST_P(PackedLinearTest, IntegerTokensGiveExactSums) {
  for (const bool negative : {false, true}) {
    for (const Pattern pattern : kFastPatterns) {
      const RandomPacked matrix({pattern.n, pattern.m, PackedType::kInt8, 64}, 50, 333, 7);
      Matrix<std::int8_t> codes(6, 333);
      std::mt19937 random(8);
      for (std::size_t t = 0; t < 6; ++t) {
        for (std::int8_t& code : codes.row(t)) {
          code = static_cast<std::int8_t>(static_cast<int>(random() % 128) - (negative ? 64 : 0));
        }
      }
      const std::vector<float> ones(6, 1.0F);
      PackedInput input;
      input.assign(matrix.view().layout, codes, ones);
      EXPECT_EQ(input.code_offset(), negative ? 128 : 0);
      Matrix<std::int32_t> sums(6, 50);
      packed_linear_sums(matrix.view(), input, 0, 50, sums);
      for (std::size_t t = 0; t < 6; ++t) {
        for (std::size_t r = 0; r < 50; ++r) {
          std::int32_t expected = 0;
          for (std::size_t i = 0; i < matrix.view().layout.kept(); ++i) {
            const PackedEntry entry = packed_entry(matrix.view(), r, i);
            if (entry.column < 333) expected += entry.integer * codes.row(t)[entry.column];
          }
          ASSERT_EQ(sums.row(t)[r], expected) << matrix.view().layout.format().describe();
        }
      }
    }
  }
}

TEST_P(PackedLinearTest, TheLargestSumsDoNotOverflow) {
  const PackedLayout layout({1, 1, PackedType::kInt8, 64}, 1, 60000);
  std::vector<std::byte> bytes(layout.size_bytes(), std::byte{127});
  Matrix<std::int8_t> codes(1, 60000, -127);
  PackedInput input;
  input.assign(layout, codes, std::vector<float>{1.0F});
  Matrix<std::int32_t> sums(1, 1);
  packed_linear_sums({layout, bytes}, input, 0, 1, sums);
  EXPECT_EQ(sums.row(0)[0], -127 * 127 * 60000);
}

FLAME_TEST_ON_ALL_INSTRUCTION_SETS(PackedLinearTest);

TEST(PackedKernelsTest, ThePatternsOfUseHaveKernelsOfTheirOwn) {
  for (const std::string_view name : available_instruction_sets()) {
    if (name == "SCALAR" || name == "EMU128") continue;
    ASSERT_TRUE(force_instruction_set(name));
    for (const Pattern pattern : kFastPatterns) {
      EXPECT_TRUE(has_fast_block_kernel({pattern.n, pattern.m, PackedType::kInt8, 64})) << name;
      if (name == "AVX3_DL") {
        for (const PackedType type : kTypes) EXPECT_TRUE(has_fast_block_kernel({pattern.n, pattern.m, type, 64}));
      }
    }
    EXPECT_TRUE(has_fast_block_kernel({2, 4, PackedType::kF32, 64})) << name;
    for (const Pattern pattern : {Pattern{1, 1}, Pattern{2, 4}, Pattern{4, 8}, Pattern{1, 4}}) {
      EXPECT_TRUE(has_fast_block_kernel({pattern.n, pattern.m, PackedType::kInt4, 64})) << name;
    }
    EXPECT_FALSE(has_fast_block_kernel({2, 5, PackedType::kF32, 64})) << name;
  }
  force_instruction_set("");
}

}  // namespace
}  // namespace flame::kernels
