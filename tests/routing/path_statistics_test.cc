#include "flame/routing/path_statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/base/error.h"
#include "routing/synthetic_trace.h"

namespace flame::routing {
namespace {

using ::testing::ElementsAre;

/// 12 tokens take the path 0 1, 3 the path 2 1, one the path 2 0.
Profile small_profile() {
  Trace trace;
  trace.info = test::synthetic_info(4, 2);
  trace.decoder.layers = 2;
  const auto add = [&](std::uint16_t a, std::uint16_t b, int times) {
    for (int i = 0; i < times; ++i) {
      trace.decoder.experts.insert(trace.decoder.experts.end(), {a, b});
      trace.decoder.probability.insert(trace.decoder.probability.end(), 2, Float16::from_float(0.5F));
      trace.decoder.token.push_back(1);
      trace.decoder.example.push_back(0);
    }
  };
  add(0, 1, 12);
  add(2, 1, 3);
  add(2, 0, 1);
  Profile profile(trace.info, {});
  profile.add(trace);
  return profile;
}

TEST(PathStatistics, CountsPathsAndTheShareOfTheHottest) {
  const PathStatistics statistics = path_statistics(small_profile());
  EXPECT_EQ(statistics.possible, 16.0);
  EXPECT_EQ(statistics.distinct, 3U);
  EXPECT_EQ(statistics.tokens, 16U);
  EXPECT_EQ(statistics.top1_share, 0.75);
  EXPECT_EQ(statistics.top10_share, 1.0);
  EXPECT_THAT(statistics.paths_by_tokens, ElementsAre(2, 1, 0, 0));
  EXPECT_THAT(statistics.tokens_by_class, ElementsAre(4, 12, 0, 0));
  ASSERT_EQ(statistics.hottest.size(), 3U);
  EXPECT_THAT(statistics.hottest[0].experts, ElementsAre(0, 1));
  EXPECT_EQ(statistics.hottest[0].tokens, 12U);
}

TEST(PathStatistics, NamesTheClasses) {
  EXPECT_EQ(path_class_name(0), "1–10");
  EXPECT_EQ(path_class_name(2), "101–1000");
  EXPECT_EQ(path_class_name(3), "> 1000");
}

TEST(PathStatistics, GivesTheConditionalHeatMapOfAnyPairOfLayers) {
  const Profile profile = small_profile();
  const std::vector<double> map = conditional_heat_map(profile, 0, 1);
  EXPECT_EQ(map[0 * 4 + 1], 1.0);
  EXPECT_EQ(map[2 * 4 + 1], 0.75);
  EXPECT_EQ(map[2 * 4 + 0], 0.25);
  EXPECT_EQ(map[1 * 4 + 0], 0.0) << "expert 1 never occurred in layer 0";
  const std::vector<double> reversed = conditional_heat_map(profile, 1, 0);
  EXPECT_EQ(reversed[1 * 4 + 0], 0.8);
  EXPECT_THROW((void)conditional_heat_map(profile, 0, 0), UsageError);
  EXPECT_THROW((void)conditional_heat_map(profile, 0, 2), UsageError);
}

TEST(PathStatistics, OfNothingAreZero) {
  const PathStatistics statistics = path_statistics(Profile(test::synthetic_info(8, 6), {}));
  EXPECT_EQ(statistics.possible, 262144.0);
  EXPECT_EQ(statistics.distinct, 0U);
  EXPECT_EQ(statistics.top1_share, 0.0);
}

}  // namespace
}  // namespace flame::routing
