#include "flame/report/label_placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <vector>

namespace flame::report {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

TEST(Stacked, LeavesLabelsWhereTheyAreWantedWhenTheyAreApart) {
  EXPECT_THAT(*stacked({100.0, 20.0, 60.0}, 15.0, 0.0, 200.0), ElementsAre(100.0, 20.0, 60.0));
}

TEST(Stacked, MovesCrowdedLabelsApartAroundTheirMiddle) {
  EXPECT_THAT(*stacked({50.0, 50.0, 50.0}, 10.0, 0.0, 200.0),
              ElementsAre(DoubleNear(40.0, 1e-9), DoubleNear(50.0, 1e-9), DoubleNear(60.0, 1e-9)));
}

TEST(Stacked, HasNoPlaceForMoreThanFit) {
  EXPECT_FALSE(stacked({1.0, 2.0, 3.0}, 10.0, 0.0, 19.0).has_value());
  EXPECT_TRUE(stacked({1.0, 2.0, 3.0}, 10.0, 0.0, 20.0).has_value());
}

RC_GTEST_PROP(Stacked, KeepsTheOrderTheGapAndTheBounds, ()) {
  const auto count = *rc::gen::inRange<std::size_t>(1, 12);
  const auto raw = *rc::gen::container<std::vector<int>>(count, rc::gen::inRange(-50, 400));
  const std::vector<double> wanted(raw.begin(), raw.end());
  const auto heights = stacked(wanted, 15.0, 10.0, 300.0);
  RC_ASSERT(heights.has_value());
  for (std::size_t i = 0; i < count; ++i) {
    RC_ASSERT((*heights)[i] >= 10.0 - 1e-9);
    RC_ASSERT((*heights)[i] <= 300.0 + 1e-9);
    for (std::size_t j = 0; j < count; ++j) {
      if (wanted[i] < wanted[j]) RC_ASSERT((*heights)[i] <= (*heights)[j] - 15.0 + 1e-6);
    }
  }
}

TEST(BesidePoints, PutsALabelRightOfItsLastPoint) {
  const auto boxes = beside_points({{.width = 40.0, .height = 10.0, .points = {{50.0, 50.0}, {100.0, 80.0}}}}, {},
                                   {.left = 0.0, .top = 0.0, .right = 200.0, .bottom = 200.0});
  ASSERT_TRUE(boxes.has_value());
  EXPECT_GT(boxes->front().box.left, 100.0);
  EXPECT_DOUBLE_EQ((boxes->front().box.top + boxes->front().box.bottom) / 2.0, 80.0);
  EXPECT_TRUE(boxes->front().near);
}

RC_GTEST_PROP(BesidePoints, LabelsLieOnNothing, ()) {
  const auto count = *rc::gen::inRange<std::size_t>(1, 8);
  std::vector<PointLabel> labels;
  std::vector<Box> taken;
  for (std::size_t i = 0; i < count; ++i) {
    const double x = *rc::gen::inRange(20, 380);
    const double y = *rc::gen::inRange(20, 280);
    labels.push_back({.width = 50.0, .height = 12.0, .points = {{x, y}}});
    taken.push_back({x - 4.0, y - 4.0, x + 4.0, y + 4.0});
  }
  const Box frame = {0.0, 0.0, 400.0, 300.0};
  const auto boxes = beside_points(labels, taken, frame);
  RC_PRE(boxes.has_value());
  for (std::size_t i = 0; i < count; ++i) {
    const Box& box = (*boxes)[i].box;
    RC_ASSERT(box.left >= frame.left && box.right <= frame.right && box.top >= frame.top && box.bottom <= frame.bottom);
    for (const Box& other : taken) RC_ASSERT(!box.overlaps(other));
    for (std::size_t j = 0; j < i; ++j) RC_ASSERT(!box.overlaps((*boxes)[j].box));
  }
}

}  // namespace
}  // namespace flame::report
