#include "flame/model/generation_overrides.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "flame/base/error.h"

namespace flame::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::size_t kVocabulary = 100;

class GenerationOverridesTest : public ::testing::Test {
 protected:
  void apply_wishes() { apply(wanted_, kVocabulary, defaults_); }

  std::string refusal() {
    try {
      apply_wishes();
    } catch (const UsageError& error) {
      return error.what();
    }
    return "accepted";
  }

  GenerationDefaults defaults_;
  GenerationOverrides wanted_;
};

TEST_F(GenerationOverridesTest, WhatIsNotSaidStaysAsTheModelHasIt) {
  defaults_.options.num_beams = 4;
  defaults_.options.length_penalty = 2.0;
  EXPECT_TRUE(wanted_.empty());
  apply_wishes();
  EXPECT_EQ(defaults_.options.num_beams, 4U);
  EXPECT_EQ(defaults_.options.length_penalty, 2.0);
  EXPECT_THAT(defaults_.warnings, IsEmpty());
}

TEST_F(GenerationOverridesTest, AWishWinsOverTheModel) {
  defaults_.options.max_new_tokens = 100;
  wanted_.max_length = 7;
  wanted_.beams = 2;
  wanted_.early_stopping = EarlyStopping::kNever;
  EXPECT_FALSE(wanted_.empty());
  apply_wishes();
  EXPECT_EQ(defaults_.options.length_limit(), 7U);
  EXPECT_EQ(defaults_.options.num_beams, 2U);
  EXPECT_EQ(defaults_.options.early_stopping, EarlyStopping::kNever);
}

TEST_F(GenerationOverridesTest, SamplingSetsTheModelsBeamsAsideAndSaysSo) {
  defaults_.options.num_beams = 4;
  wanted_.sample = true;
  apply_wishes();
  EXPECT_EQ(defaults_.options.num_beams, 1U);
  EXPECT_THAT(defaults_.warnings, ElementsAre(HasSubstr("the 4 that")));
}

TEST_F(GenerationOverridesTest, BeamsOrAWishForNoneSetTheModelsSamplingAside) {
  const GenerationDefaults sampling = [] {
    GenerationDefaults defaults;
    defaults.options.do_sample = true;
    return defaults;
  }();
  defaults_ = sampling;
  wanted_.sample = false;
  EXPECT_FALSE(wanted_.empty());
  apply_wishes();
  EXPECT_FALSE(defaults_.options.do_sample);
  EXPECT_THAT(defaults_.warnings, IsEmpty());
  defaults_ = sampling;
  wanted_ = {};
  wanted_.beams = 4;
  apply_wishes();
  EXPECT_FALSE(defaults_.options.do_sample);
  EXPECT_EQ(defaults_.options.num_beams, 4U);
  EXPECT_THAT(defaults_.warnings, ElementsAre(HasSubstr("sampling")));
  defaults_ = sampling;
  defaults_.options.num_beams = 4;  // of the model's task
  wanted_ = {};
  apply_wishes();
  EXPECT_FALSE(defaults_.options.do_sample);
  EXPECT_EQ(defaults_.options.num_beams, 4U);
}

TEST_F(GenerationOverridesTest, SamplingAndBeamsAskedForTogetherAreRefused) {
  wanted_.sample = true;
  wanted_.beams = 4;
  EXPECT_THAT(refusal(), HasSubstr("sampling and beam search"));
}

TEST_F(GenerationOverridesTest, WishesWithoutEffectAreRefused) {
  wanted_.top_k = 5;
  EXPECT_THAT(refusal(), HasSubstr("without --sample"));
  wanted_ = {};
  wanted_.length_penalty = 2.0;
  EXPECT_THAT(refusal(), HasSubstr("without --beams"));
}

TEST_F(GenerationOverridesTest, WishesThatSayOneThingTwiceAreRefused) {
  wanted_.max_new_tokens = 5;
  wanted_.max_length = 5;
  EXPECT_THAT(refusal(), HasSubstr("--max-length"));
  wanted_ = {};
  wanted_.min_new_tokens = 5;
  wanted_.min_length = 5;
  EXPECT_THAT(refusal(), HasSubstr("--min-length"));
}

TEST_F(GenerationOverridesTest, AMinimumAboveTheMaximumIsRefusedWhereItWasAskedFor) {
  wanted_.min_new_tokens = 6;
  wanted_.max_new_tokens = 5;
  EXPECT_THAT(refusal(), HasSubstr("at least 6 new tokens"));
  wanted_.min_new_tokens = 5;
  EXPECT_EQ(refusal(), "accepted");
}

TEST_F(GenerationOverridesTest, TheModelsMinimumAboveTheMaximumIsWarnedOf) {
  defaults_.options.min_length = 30;
  wanted_.max_new_tokens = 5;
  apply_wishes();
  EXPECT_THAT(defaults_.warnings, ElementsAre(HasSubstr("at least 29 new tokens")));
}

TEST_F(GenerationOverridesTest, WhatHasNoEffectInTheModelsFilesIsWarnedOf) {
  defaults_.options.temperature = 0.7;
  defaults_.options.length_penalty = 2.0;
  defaults_.options.eos_token_ids = {1, 999};
  apply_wishes();
  EXPECT_THAT(defaults_.warnings,
              ElementsAre(HasSubstr("length_penalty has no effect without beam search"),
                          HasSubstr("temperature has no effect without sampling"), HasSubstr("eos_token_id 999")));
}

TEST_F(GenerationOverridesTest, WhatAWishTakesItsEffectFromOrGivesItToIsNot) {
  defaults_.options.temperature = 0.7;
  defaults_.options.max_length = 50;
  wanted_.sample = true;
  wanted_.max_new_tokens = 5;
  apply_wishes();
  EXPECT_THAT(defaults_.warnings, IsEmpty());
}

}  // namespace
}  // namespace flame::model
