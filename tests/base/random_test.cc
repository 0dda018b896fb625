#include "flame/base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <vector>

namespace flame {
namespace {

TEST(Random, GivesTheSameValuesForTheSameSeedAndStream) {
  Random a(7, 1);
  Random b(7, 1);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.next_bits(), b.next_bits());
}

TEST(Random, KeepsItsValuesFromVersionToVersion) {
  // Checkpoints made by `flame synth --seed` are to stay the same: these numbers may not change.
  Random random(42);
  EXPECT_EQ(random.next_bits(), 6143318025178984964U);
  EXPECT_EQ(random.next_bits(), 3111913416427148399U);
  EXPECT_EQ(random.next_uniform(), 0.55576248405731599);
  EXPECT_EQ(random.next_normal(), 0.068921606149186104);
}

TEST(Random, GivesOtherValuesForAnotherSeedOrStream) {
  std::set<std::uint64_t> first;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    for (std::uint64_t stream = 0; stream < 100; ++stream) first.insert(Random(seed, stream).next_bits());
  }
  EXPECT_EQ(first.size(), 10'000U);
}

TEST(Random, GivesTheValueOfAPositionWithoutTheOnesBefore) {
  Random random(3);
  for (int i = 0; i < 5; ++i) static_cast<void>(random.next_normal());
  const Random other(3);
  EXPECT_EQ(random.next_normal(), other.normal_at(5));
  random.seek(2);
  EXPECT_EQ(random.next_uniform(), other.uniform_at(2));
}

TEST(Random, DrawsUniformlyFromZeroToOne) {
  Random random(11);
  double sum = 0.0;
  double square_sum = 0.0;
  constexpr int kCount = 200'000;
  for (int i = 0; i < kCount; ++i) {
    const double value = random.next_uniform();
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    sum += value;
    square_sum += value * value;
  }
  // Five standard errors of mean and of second moment.
  EXPECT_NEAR(sum / kCount, 0.5, 5 * std::sqrt(1.0 / 12 / kCount));
  EXPECT_NEAR(square_sum / kCount, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / kCount));
}

TEST(Random, DrawsNormalValuesWithTheRightMomentsAndTails) {
  Random random(12);
  constexpr int kCount = 400'000;
  std::array<double, 4> moments{};
  int past_two = 0;
  for (int i = 0; i < kCount; ++i) {
    const double value = random.next_normal();
    double power = 1.0;
    for (double& moment : moments) moment += (power *= value) / kCount;
    past_two += std::abs(value) > 2.0 ? 1 : 0;
  }
  EXPECT_NEAR(moments[0], 0.0, 5 * std::sqrt(1.0 / kCount));
  EXPECT_NEAR(moments[1], 1.0, 5 * std::sqrt(2.0 / kCount));
  EXPECT_NEAR(moments[2], 0.0, 5 * std::sqrt(15.0 / kCount));
  EXPECT_NEAR(moments[3], 3.0, 5 * std::sqrt(96.0 / kCount));
  EXPECT_NEAR(past_two / static_cast<double>(kCount), 0.0455, 5 * std::sqrt(0.0455 / kCount));
}

TEST(Random, NormalValuesAreTheInverseOfTheirDistribution) {
  const Random random(15);
  double worst = 0.0;
  for (std::uint64_t position = 0; position < 100'000; ++position) {
    const double share = (static_cast<double>(random.bits_at(position) >> 12) + 0.5) * 0x1p-52;
    const double value = random.normal_at(position);
    const double distribution = 0.5 * std::erfc(-value / std::sqrt(2.0));
    worst = std::max(worst, std::abs(distribution - share) / std::min(share, 1.0 - share));
  }
  EXPECT_LT(worst, 1e-10);
}

TEST(Random, ReachesFarTailsWithoutInfinities) {
  Random random(13);
  double largest = 0.0;
  for (int i = 0; i < 1'000'000; ++i) largest = std::max(largest, std::abs(random.next_normal()));
  EXPECT_GT(largest, 4.0);
  EXPECT_LT(largest, 9.0);
}

TEST(Random, DrawsBelowABoundWithoutBias) {
  Random random(14);
  std::vector<int> counts(7);
  constexpr int kCount = 70'000;
  for (int i = 0; i < kCount; ++i) ++counts[random.next_below(7)];
  for (const int count : counts) EXPECT_NEAR(count, kCount / 7, 5 * std::sqrt(kCount / 7.0));
  EXPECT_EQ(random.next_below(1), 0U);
}

}  // namespace
}  // namespace flame
