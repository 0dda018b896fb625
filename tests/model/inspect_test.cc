#include "flame/model/inspect.h"

#include <gtest/gtest.h>

#include "flame/model/synth.h"

namespace flame::model {
namespace {

TEST(InspectTest, CountsSwitchBase8) {
  const SwitchConfig& config = find_preset("switch-base-8")->config;
  const ParameterCount count = count_parameters(config);
  EXPECT_EQ(count.embeddings, 32128U * 768);
  EXPECT_EQ(count.experts, 12U * 8 * 2 * 768 * 3072);
  EXPECT_EQ(count.dense_feed_forward, 12U * 2 * 768 * 3072);
  EXPECT_EQ(count.attention, 36U * 4 * 768 * 768 + 2 * 32 * 12);
  EXPECT_EQ(count.routers, 12U * 8 * 768);
  EXPECT_EQ(count.norms, (24U + 36 + 2) * 768);
  EXPECT_EQ(count.total(), 619'339'008U);  // transformers: model.num_parameters()
  EXPECT_EQ(expert_parameters(config), 4'718'592U);
  EXPECT_EQ(expert_parameters(config, Gating::kGated), 7'077'888U);
  EXPECT_EQ(expert_count(config), 96U);
}

// The paper prints 76.15 % and 98.98 %: docs/generation.md.
TEST(InspectTest, ExpertShareIsThePapersToAFewHundredthsOfAPercent) {
  SwitchConfig config = find_preset("switch-base-8")->config;
  EXPECT_NEAR(count_parameters(config).expert_share_without_embeddings(), 0.7615, 5e-4);
  config.num_experts = 256;
  EXPECT_NEAR(count_parameters(config).expert_share_without_embeddings(), 0.9898, 5e-4);
  EXPECT_NEAR(count_parameters(config).expert_share(), 0.9885, 5e-4);
}

TEST(InspectTest, UntiedModelsHaveThreeEmbeddings) {
  SwitchConfig config;
  const std::uint64_t tied = count_parameters(config).embeddings;
  config.tie_word_embeddings = false;
  EXPECT_EQ(count_parameters(config).embeddings, 3 * tied);
}

}  // namespace
}  // namespace flame::model
