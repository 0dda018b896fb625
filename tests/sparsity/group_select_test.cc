#include "flame/sparsity/group_select.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>
#include <rapidcheck/gtest.h>

#include <bit>
#include <cstring>
#include <limits>
#include <vector>

namespace flame::sparsity {
namespace {

/// Few different values, so that ties are common, and the odd ones: both zeros, infinities, NaN, subnormals. All are
/// values of bf16 too.
float draw_weight() {
  return *rc::gen::element(0.0F, -0.0F, 1.0F, -1.0F, 0.5F, -0.5F, 2.0F, -2.0F, 3.5F, 0x1p-130F, -0x1p-130F,
                           std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                           std::numeric_limits<float>::quiet_NaN(), 0x1.fep127F);
}

Pattern draw_pattern() {
  const int m = *rc::gen::inRange(1, 17);
  return Pattern{static_cast<std::uint8_t>(*rc::gen::inRange(1, m + 1)), static_cast<std::uint8_t>(m)};
}

std::uint64_t key_of(float weight) { return std::bit_cast<std::uint32_t>(weight) & 0x7fffffffU; }

/// Runs `body` once for every instruction set of this machine.
template <typename Body>
void on_every_target(const Body& body) {
  std::size_t targets = 0;
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    body(hwy::TargetName(target));
    ++targets;
  }
  hwy::SetSupportedTargetsForTest(0);
  RC_ASSERT(targets > 0U);
}

std::vector<std::uint16_t> bits_of_bf16(const std::vector<float>& weights) {
  std::vector<std::uint16_t> bits;
  for (const float weight : weights) bits.push_back(BFloat16::from_float(weight).bits);
  return bits;
}

TEST(LargestOfGroup, KeepsTheLowerIndexOfEqualScores) {
  const std::vector<float> scores = {1.0F, -2.0F, 2.0F, 1.0F};
  EXPECT_EQ(largest_of_group(scores, 1), 0b0010U);
  EXPECT_EQ(largest_of_group(scores, 2), 0b0110U);
  EXPECT_EQ(largest_of_group(scores, 3), 0b0111U);
  EXPECT_EQ(largest_of_group(scores, 4), 0b1111U);
}

RC_GTEST_PROP(LargestOfGroup, NoZeroedScoreIsLargerThanAKeptOne, ()) {
  const auto scores = *rc::gen::container<std::vector<float>>(*rc::gen::inRange(1, 17), rc::gen::exec(draw_weight));
  const auto n = static_cast<std::size_t>(*rc::gen::inRange(1, 17));
  const std::uint32_t kept = largest_of_group(scores, n);
  RC_ASSERT(static_cast<std::size_t>(std::popcount(kept)) == std::min(n, scores.size()));
  for (std::size_t i = 0; i < scores.size(); ++i) {
    for (std::size_t j = 0; j < scores.size(); ++j) {
      const bool i_kept = (kept >> i & 1U) != 0;
      const bool j_kept = (kept >> j & 1U) != 0;
      if (!i_kept || j_kept) continue;
      RC_ASSERT(key_of(scores[i]) > key_of(scores[j]) || (key_of(scores[i]) == key_of(scores[j]) && i < j));
    }
  }
}

RC_GTEST_PROP(KeepLargest, EqualsTheDefinitionOnEveryInstructionSet, ()) {
  const Pattern pattern = draw_pattern();
  const auto rows = static_cast<std::size_t>(*rc::gen::inRange(1, 9));
  const auto columns = static_cast<std::size_t>(*rc::gen::inRange(1, 80));
  const auto weights = *rc::gen::container<std::vector<float>>(rows * columns, rc::gen::exec(draw_weight));

  std::vector<float> expected = weights;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t first = 0; first < columns; first += pattern.m) {
      const std::size_t size = std::min<std::size_t>(pattern.m, columns - first);
      const std::uint32_t kept = largest_of_group(std::span(weights).subspan(r * columns + first, size), pattern.n);
      for (std::size_t i = 0; i < size; ++i) {
        if ((kept >> i & 1U) == 0) expected[r * columns + first + i] = 0.0F;
      }
    }
  }

  on_every_target([&](const char* target) {
    RC_LOG() << target << " " << pattern.to_string() << " [" << rows << ", " << columns << "]\n";
    std::vector<float> pruned = weights;
    keep_largest(pattern, DataType::kF32, std::as_writable_bytes(std::span(pruned)), columns);
    RC_ASSERT(std::memcmp(pruned.data(), expected.data(), expected.size() * sizeof(float)) == 0);

    std::vector<std::uint16_t> pruned_16 = bits_of_bf16(weights);
    keep_largest(pattern, DataType::kBF16, std::as_writable_bytes(std::span(pruned_16)), columns);
    RC_ASSERT(pruned_16 == bits_of_bf16(expected));

    std::vector<float> marked(weights.size(), 1.0F);
    keep_largest(pattern, MatrixView<const float>(weights.data(), rows, columns),
                 MatrixView<float>(marked.data(), rows, columns));
    for (std::size_t i = 0; i < marked.size(); ++i) {
      if (key_of(weights[i]) != 0) RC_ASSERT((marked[i] == 1.0F) == (key_of(expected[i]) != 0));
    }
  });
}

TEST(KeepLargest, HalfPrecisionIsOrderedByMagnitude) {
  std::vector<std::uint16_t> weights;
  for (const float weight : {0.5F, -65504.0F, 6e-8F, -1.0F}) weights.push_back(Float16::from_float(weight).bits);
  keep_largest(Pattern{2, 4}, DataType::kF16, std::as_writable_bytes(std::span(weights)), 4);
  EXPECT_EQ(Float16{weights[1]}.to_float(), -65504.0F);
  EXPECT_EQ(Float16{weights[3]}.to_float(), -1.0F);
  EXPECT_EQ(weights[0], 0U);
  EXPECT_EQ(weights[2], 0U);
}

}  // namespace
}  // namespace flame::sparsity
