#include "flame/model/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace flame::model {
namespace {

/// A router over two-dimensional tokens: expert 0 likes the first dimension, expert 1 the second.
RouterWeights two_experts() {
  RouterWeights weights;
  weights.classifier = Matrix<float>(2, 2);
  weights.classifier.row(0)[0] = 1.0F;
  weights.classifier.row(1)[1] = 1.0F;
  return weights;
}

std::vector<RoutingDecision> route(Router& router, const std::vector<float>& tokens,
                                   const std::vector<std::uint32_t>& sequence) {
  std::vector<RoutingDecision> decisions(sequence.size());
  router.route({{}, {tokens.data(), sequence.size(), 2}, sequence}, decisions);
  return decisions;
}

TEST(RouterTest, ChoosesTheMostLikelyExpertWithItsProbability) {
  const RouterWeights weights = two_experts();
  Router router(weights, 10);
  const auto decisions = route(router, {1.0F, 3.0F, 2.0F, 0.0F}, {0, 0});
  EXPECT_EQ(decisions[0].expert, 1);
  EXPECT_FLOAT_EQ(decisions[0].probability, 1.0F / (1.0F + std::exp(-2.0F)));
  EXPECT_EQ(decisions[1].expert, 0);
}

TEST(RouterTest, EqualExpertsGoToTheFirst) {
  const RouterWeights weights = two_experts();
  Router router(weights, 10);
  EXPECT_EQ(route(router, {1.0F, 1.0F}, {0})[0].expert, 0);
}

TEST(RouterTest, CapacityCountsInOrderWithinEachSequenceAndCall) {
  const RouterWeights weights = two_experts();
  Router router(weights, 2);
  const std::vector<float> all_first{1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 1, 0};
  const auto decisions = route(router, all_first, {0, 0, 0, 0, 0, 1});
  std::vector<bool> dropped;
  for (const RoutingDecision& decision : decisions) dropped.push_back(decision.dropped);
  EXPECT_THAT(dropped, testing::ElementsAre(false, false, true, false, true, false));
  EXPECT_FALSE(route(router, {1, 0}, {1})[0].dropped) << "a new call counts from zero";
}

TEST(RouterTest, ABiasShiftsTheLogits) {
  RouterWeights weights = two_experts();
  weights.bias = {0.0F, 5.0F};
  Router router(weights, 10);
  EXPECT_EQ(route(router, {1.0F, 0.0F}, {0})[0].expert, 1);
}

TEST(RouterTest, ANarrowRouterRoundsLikeItsType) {
  RouterWeights weights = two_experts();
  weights.classifier.row(1)[1] = 1.001F;  // 1 in bf16: a tie
  Router narrow(weights, 10, DataType::kBF16);
  Router wide(weights, 10);
  EXPECT_EQ(route(narrow, {1.0F, 1.0F}, {0})[0].expert, 0);
  EXPECT_EQ(route(narrow, {1.0F, 1.0F}, {0})[0].probability, 0.5F);
  EXPECT_EQ(route(wide, {1.0F, 1.0F}, {0})[0].expert, 1);
}

TEST(RouterTest, GivesAllProbabilitiesWhenAsked) {
  const RouterWeights weights = two_experts();
  Router router(weights, 10);
  const std::vector<float> token{1.0F, 3.0F};
  const std::vector<std::uint32_t> sequence{0};
  std::vector<RoutingDecision> decisions(1);
  Matrix<float> probabilities(1, 2);
  router.route({{}, {token.data(), 1, 2}, sequence}, decisions, probabilities);
  EXPECT_FLOAT_EQ(probabilities.row(0)[0] + probabilities.row(0)[1], 1.0F);
  EXPECT_EQ(probabilities.row(0)[1], decisions[0].probability);
}

}  // namespace
}  // namespace flame::model
