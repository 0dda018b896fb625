#include "flame/eval/bootstrap.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <vector>

#include "flame/base/error.h"

namespace flame::eval {
namespace {

TEST(Bootstrap, NothingHasAZeroInterval) {
  const Interval interval = bootstrap_mean({}, Bootstrap{});
  EXPECT_EQ(interval.mean, 0.0);
  EXPECT_EQ(interval.high, 0.0);
}

TEST(Bootstrap, EqualValuesLeaveNoDoubt) {
  const std::array<double, 5> values = {2.5, 2.5, 2.5, 2.5, 2.5};
  const Interval interval = bootstrap_mean(values, Bootstrap{});
  EXPECT_EQ(interval.low, 2.5);
  EXPECT_EQ(interval.mean, 2.5);
  EXPECT_EQ(interval.high, 2.5);
}

TEST(Bootstrap, TheIntervalOfABinomialMeanIsTheTextbooks) {
  std::vector<double> values(400, 0.0);
  for (std::size_t i = 0; i < 200; ++i) values[i] = 1.0;
  const Interval interval = bootstrap_mean(values, Bootstrap{.samples = 10000});
  EXPECT_EQ(interval.mean, 0.5);
  EXPECT_NEAR(interval.low, 0.5 - 1.96 * 0.025, 3e-3);
  EXPECT_NEAR(interval.high, 0.5 + 1.96 * 0.025, 3e-3);
}

TEST(Bootstrap, TheSeedDecidesTheInterval) {
  const std::array<double, 6> values = {1, 2, 3, 5, 8, 13};
  const Interval first = bootstrap_mean(values, Bootstrap{.samples = 50, .seed = 3});
  const Interval again = bootstrap_mean(values, Bootstrap{.samples = 50, .seed = 3});
  EXPECT_EQ(first.low, again.low);
  EXPECT_EQ(first.high, again.high);
}

TEST(Bootstrap, PairedDifferencesAreSharperThanSeparateIntervals) {
  std::vector<double> baseline;
  std::vector<double> better;
  for (int i = 0; i < 100; ++i) {
    baseline.push_back(static_cast<double>(i));
    better.push_back(static_cast<double>(i) + 1.0);
  }
  const Interval difference = bootstrap_difference(better, baseline, Bootstrap{});
  EXPECT_EQ(difference.low, 1.0);
  EXPECT_EQ(difference.high, 1.0);
  EXPECT_LT(bootstrap_mean(better, Bootstrap{}).low, bootstrap_mean(baseline, Bootstrap{}).high);
}

TEST(Bootstrap, MoreSamplesThanMemoryHoldsAreRefused) {
  const std::vector<double> values = {0.1, 0.4};
  EXPECT_THROW(static_cast<void>(bootstrap_mean(values, {.samples = 100'000'000'000})), UsageError);
}

TEST(Bootstrap, AConfidenceThatIsNoShareIsRefused) {
  const std::vector<double> values = {0.1, 0.4};
  for (const double confidence : {std::numeric_limits<double>::quiet_NaN(), -0.1, 1.1}) {
    EXPECT_THROW(static_cast<void>(bootstrap_mean(values, {.samples = 10, .confidence = confidence})), UsageError);
  }
}

}  // namespace
}  // namespace flame::eval
