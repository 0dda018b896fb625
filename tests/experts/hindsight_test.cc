#include "flame/experts/hindsight.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <random>

namespace flame::experts {
namespace {

/// One layer of as many experts as one cares for, one slot: each pass misses one expert on demand, or none when it
/// wants the last one again.
class Past {
 public:
  /// A pass of one second without waiting; a load takes one second.
  void pass(double waited, bool misses_on_demand, bool as_on_demand = false) {
    if (misses_on_demand) expert_ = 1 - expert_;
    hindsight_.visit(0, {&expert_, 1}, {&expert_, 1}, as_on_demand);
    hindsight_.settle({1.0 + waited, waited, 0.0, 1.0, waited, static_cast<double>(hindsight_.missing())});
    seconds_ += 1.0 + waited;
    waited_ += waited;
  }
  [[nodiscard]] bool follows() const { return hindsight_.follows_forecasts(); }
  /// What forecasts have cost so far.
  [[nodiscard]] double lost() const { return waited_ - hindsight_.on_demand_seconds(); }

  Hindsight hindsight_{{0, 1, 2}, 1, make_replacement(Replacement::kLru, {0, 1, 2}, {}), {}};
  ExpertIndex expert_ = 0;
  double seconds_ = 0.0;
  double waited_ = 0.0;
};

TEST(Hindsight, ForecastsAreSetAsideWhenTheyHaveCostMoreThanTheyMay) {
  Past past;
  past.pass(1.0, true);  // the first miss; on demand it is one, too
  past.pass(0.0, false);
  EXPECT_DOUBLE_EQ(past.lost(), 0.0);
  for (int wrong = 0; wrong < 2; ++wrong) {
    past.pass(1.0, false);
    EXPECT_TRUE(past.follows());
  }
  past.pass(1.0, false);
  EXPECT_FALSE(past.follows());
  EXPECT_DOUBLE_EQ(past.lost(), 3.0);
}

TEST(Hindsight, TheyMayCostMoreInARunThatLoadsMuchOnDemand) {
  Past past;
  for (int pass = 0; pass < 768; ++pass) past.pass(1.0, true);  // 2 + 768 / 128 = 8 loads are allowed by now
  EXPECT_DOUBLE_EQ(past.lost(), 0.0);
  int wrong = 0;
  for (; past.follows(); ++wrong) past.pass(1.0, false);
  EXPECT_NEAR(wrong, 16, 1);  // eight, and half a percent of 1,536 seconds
}

// On demand, the storage or the process would have stood still as well.
TEST(Hindsight, AStandstillIsNotTheirDoing) {
  Past past;
  past.pass(1.0, true);
  ExpertIndex other = 1 - past.expert_;
  past.hindsight_.visit(0, {&other, 1}, {&other, 1}, false);
  past.hindsight_.settle({1001.0, 1000.0, 0.0, 1.0, 1.0, 1.0});
  EXPECT_TRUE(past.follows());
  EXPECT_DOUBLE_EQ(past.hindsight_.on_demand_seconds(), 1.0 + 1000.0);
  past.hindsight_.visit(0, {&other, 1}, {&other, 1}, false);
  past.hindsight_.settle({1001.0, 1000.0, 0.0, 1.0, 2.0, 0.0});  // two loads that on demand would not have had
  EXPECT_TRUE(past.follows());
  EXPECT_DOUBLE_EQ(past.hindsight_.on_demand_seconds(), 1.0 + 1000.0 + 998.0);
}

// However much is lost while they are set aside, which only noise can do: it is not held against them for ever.
TEST(Hindsight, DebtsEndWithWhatTheBoundAllows) {
  Past past;
  past.pass(1.0, true);
  for (int pass = 0; pass < 1000; ++pass) past.pass(1.0, false);
  int passes = 0;
  for (; !past.follows(); ++passes) past.pass(0.0, false);
  EXPECT_NEAR(passes, 400, 10);  // from 2 loads and one slot up to half of 2 loads, at half a percent of a second each
}

TEST(Hindsight, TheyAreFollowedAgainWhenTimeHasPassed) {
  Past past;
  past.pass(1.0, true);
  while (past.follows()) past.pass(1.0, false);
  int passes = 0;
  for (; !past.follows(); ++passes) past.pass(0.0, false);
  // Two loads of a second at half a percent of a second a pass, less what came in meanwhile.
  EXPECT_NEAR(passes, 390, 20);
}

TEST(Hindsight, WhatTheyEarnIsTheirsToLoseUpToALimit) {
  Past past;
  past.pass(1.0, true);
  for (int right = 0; right < 1000; ++right) past.pass(0.0, true);
  EXPECT_LT(past.lost(), -990.0);
  int passes = 0;
  for (; past.follows(); ++passes) past.pass(1.0, false);
  EXPECT_NEAR(passes, 40, 1);  // not a thousand
}

// Loads that take longer than it is known of do not count against forecasts where everything went as on demand.
TEST(Hindsight, APassAsOnDemandCostsNothing) {
  Past past;
  for (int slow = 0; slow < 100; ++slow) past.pass(10.0, true, true);
  EXPECT_TRUE(past.follows());
  EXPECT_DOUBLE_EQ(past.lost(), 0.0);
}

TEST(Hindsight, NothingIsComparedUntilItIsKnownWhatALoadTakes) {
  Hindsight hindsight{{0, 1, 4}, 4, make_replacement(Replacement::kLru, {0, 1, 4}, {}), {}};
  const ExpertIndex expert = 0;
  hindsight.visit(0, {&expert, 1}, {&expert, 1}, false);
  hindsight.settle({100.0, 90.0, 10.0, 0.0, 0.0, 0.0});
  EXPECT_TRUE(hindsight.follows_forecasts());
  EXPECT_DOUBLE_EQ(hindsight.on_demand_seconds(), 90.0);
}

TEST(Hindsight, ComputingHidesLoadsOnDemandToo) {
  Hindsight hindsight{{0, 1, 4}, 4, make_replacement(Replacement::kLru, {0, 1, 4}, {}), {}};
  const std::vector<ExpertIndex> experts{0, 1, 2};
  hindsight.begin_statistics();
  hindsight.visit(0, experts, experts, false);
  EXPECT_EQ(hindsight.missing(), 3U);
  hindsight.settle({10.0, 0.0, 4.0, 3.0, 0.0, 3 * 3.0});
  EXPECT_DOUBLE_EQ(hindsight.on_demand_seconds(), 3 * 3.0 - 4.0);
}

// Whatever forecasts do as long as they are followed, when those set aside cost nothing.
RC_GTEST_PROP(Hindsight, BoundsWhatForecastsCost, ()) {
  std::mt19937 random(*rc::gen::arbitrary<std::uint32_t>());
  const auto wrong = *rc::gen::inRange(0, 101);  // of a hundred
  Past past;
  past.pass(1.0, true);
  for (int pass = 0; pass < 5000; ++pass) {
    const bool misses = random() % 2 == 0;
    const bool bad = static_cast<int>(random() % 100) < wrong;
    past.pass(past.follows() ? (bad ? 1.0 : 0.0) : (misses ? 1.0 : 0.0), misses);
    RC_ASSERT(past.lost() <= 0.005 * past.seconds_ + 9.0);
  }
}

}  // namespace
}  // namespace flame::experts
