#include "flame/sparsity/name_filter.h"

#include <gtest/gtest.h>

namespace flame::sparsity {
namespace {

TEST(NameFilter, StarsStandForAnything) {
  EXPECT_TRUE(matches("*", ""));
  EXPECT_TRUE(matches("*.wo.weight", "decoder.block.1.layer.2.mlp.experts.expert_0.wo.weight"));
  EXPECT_TRUE(matches("decoder.*.q.*", "decoder.block.0.layer.0.SelfAttention.q.weight"));
  EXPECT_TRUE(matches("a*b*c", "abbc"));
  EXPECT_TRUE(matches("a**", "a"));
  EXPECT_FALSE(matches("decoder.*", "encoder.block"));
  EXPECT_FALSE(matches("*wo", "wo.weight"));
  EXPECT_FALSE(matches("a*bc", "abcd"));
}

TEST(NameFilter, QuestionMarksStandForOneCharacter) {
  EXPECT_TRUE(matches("expert_?", "expert_7"));
  EXPECT_FALSE(matches("expert_?", "expert_"));
  EXPECT_FALSE(matches("expert_?", "expert_12"));
}

TEST(NameFilter, APatternFitsTheWholeName) {
  EXPECT_FALSE(matches("", "a"));
  EXPECT_FALSE(matches("shared", "shared.weight"));
  EXPECT_TRUE(matches_any({"x", "shared.*"}, "shared.weight"));
  EXPECT_FALSE(matches_any({}, "shared.weight"));
}

}  // namespace
}  // namespace flame::sparsity
