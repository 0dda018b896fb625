#include "flame/experts/predictor_choice.h"

#include <gtest/gtest.h>

#include "experts/tiny_bundle.h"

namespace flame::experts {
namespace {

TEST(PredictorChoice, AutoIsTheBestThatTheProfileHasDataFor) {
  EXPECT_EQ(choose_predictor("auto", Replacement::kNextUse, nullptr).predictor, "");
  routing::Profile profile = test::tiny_profile(test::tiny_config());
  EXPECT_EQ(choose_predictor("auto", Replacement::kNextUse, &profile).predictor, "cepr");
  routing::Fitted fitted;
  fitted.mixtures.push_back({"mix", 3, {"backoff", "token"}, {}});
  profile.set_fitted(fitted);
  EXPECT_EQ(choose_predictor("auto", Replacement::kNextUse, &profile).predictor, "mix");
  fitted.mixtures.push_back({"mix-hidden", 3, {"backoff", "lookahead"}, {}});
  profile.set_fitted(fitted);
  EXPECT_EQ(choose_predictor("auto", Replacement::kNextUse, &profile).predictor, "mix-hidden");
}

TEST(PredictorChoice, ReuseWithoutPredictionIsAReplacement) {
  const routing::Profile profile = test::tiny_profile(test::tiny_config());
  EXPECT_EQ(choose_predictor("lru", Replacement::kNextUse, &profile).replacement, Replacement::kLru);
  EXPECT_EQ(choose_predictor("lru", Replacement::kNextUse, &profile).predictor, "");
  EXPECT_EQ(choose_predictor("none", Replacement::kLfu, &profile).replacement, Replacement::kLfu);
  EXPECT_EQ(choose_predictor("online", Replacement::kNextUse, nullptr).predictor, "online");
}

}  // namespace
}  // namespace flame::experts
