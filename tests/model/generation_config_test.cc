#include "flame/model/generation_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <string>

#include "flame/base/error.h"
#include "support/test_data.h"

namespace flame::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// A model directory with the given texts; an empty generation config means no such file.
struct Model {
  explicit Model(const std::string& config_members, const std::string& generation = "") {
    std::ofstream(directory / "config.json") << "{" << config_members << "}";
    if (!generation.empty()) std::ofstream(directory / "generation_config.json") << generation;
    config = load_config(directory.path());
  }
  [[nodiscard]] GenerationDefaults load(const std::optional<std::string>& task = std::nullopt) const {
    return load_generation_defaults(directory.path(), config, task);
  }
  test::TemporaryDirectory directory;
  SwitchConfig config;
};

constexpr const char* kTasks = R"("decoder_start_token_id": 0, "task_specific_params": {
  "summarization": {"early_stopping": true, "length_penalty": 2.0, "max_length": 200, "min_length": 30,
                    "no_repeat_ngram_size": 3, "num_beams": 4, "prefix": "summarize: "},
  "translation_en_to_de": {"prefix": "translate English to German: "}})";

TEST(GenerationConfigTest, WithoutAnythingGeneratesTwentyTokensGreedily) {
  const GenerationDefaults defaults = Model(R"("decoder_start_token_id": 0)").load();
  EXPECT_EQ(defaults.options.length_limit(), 21U);
  EXPECT_EQ(defaults.options.length_floor(), 0U);
  EXPECT_EQ(defaults.options.num_beams, 1U);
  EXPECT_FALSE(defaults.options.do_sample);
  EXPECT_EQ(defaults.options.top_k, 50U);
  EXPECT_THAT(defaults.warnings, IsEmpty());
}

TEST(GenerationConfigTest, AnExplicitMaximumOfTwentyCountsTheStartToken) {
  EXPECT_EQ(Model(R"("decoder_start_token_id": 0)", R"({"max_length": 20})").load().options.length_limit(), 20U);
}

TEST(GenerationConfigTest, GenerationConfigReplacesTheKeysOfConfig) {
  const Model model(R"("decoder_start_token_id": 3, "num_beams": 5, "max_length": 50)",
                    R"({"max_new_tokens": 8, "early_stopping": "never", "eos_token_id": [1, 4], "do_sample": true,
                        "temperature": 0.5, "top_k": 3, "top_p": 0.9})");
  const GenerationOptions options = model.load().options;
  EXPECT_EQ(options.num_beams, 1U);
  EXPECT_EQ(options.length_limit(), 9U);
  EXPECT_EQ(options.early_stopping, EarlyStopping::kNever);
  EXPECT_EQ(options.decoder_start_token_id, 3);
  EXPECT_THAT(options.eos_token_ids, ElementsAre(1, 4));
  EXPECT_TRUE(options.do_sample);
  EXPECT_EQ(options.temperature, 0.5);
  EXPECT_EQ(options.top_p, 0.9);
}

TEST(GenerationConfigTest, WithoutGenerationConfigTheKeysOfConfigCount) {
  const GenerationOptions options =
      Model(R"("decoder_start_token_id": 3, "num_beams": 5, "max_length": 50)").load().options;
  EXPECT_EQ(options.num_beams, 5U);
  EXPECT_EQ(options.length_limit(), 50U);
}

TEST(GenerationConfigTest, ATaskLiesOverBoth) {
  const Model model(kTasks, R"({"max_new_tokens": 10, "min_new_tokens": 2, "repetition_penalty": 1.5})");
  const GenerationDefaults defaults = model.load("summarization");
  EXPECT_EQ(defaults.prefix, "summarize: ");
  EXPECT_EQ(defaults.options.num_beams, 4U);
  EXPECT_EQ(defaults.options.length_limit(), 200U);
  EXPECT_EQ(defaults.options.length_floor(), 30U);
  EXPECT_EQ(defaults.options.length_penalty, 2.0);
  EXPECT_EQ(defaults.options.early_stopping, EarlyStopping::kTrue);
  EXPECT_EQ(defaults.options.no_repeat_ngram_size, 3U);
  EXPECT_EQ(defaults.options.repetition_penalty, 1.5);
  EXPECT_THAT(defaults.tasks, ElementsAre("summarization", "translation_en_to_de"));
  EXPECT_EQ(model.load().prefix, "");
}

TEST(GenerationConfigTest, AnUnknownTaskNamesTheKnownOnes) {
  const Model model(kTasks);
  try {
    static_cast<void>(model.load("sumarization"));
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("summarization, translation_en_to_de"));
  }
  EXPECT_THROW(static_cast<void>(Model(R"("decoder_start_token_id": 0)").load("summarization")), UsageError);
}

TEST(GenerationConfigTest, NamesKeysThatItDoesNotHave) {
  const GenerationDefaults defaults =
      Model(R"("decoder_start_token_id": 0)",
            R"({"diversity_penalty": 0.5, "encoder_no_repeat_ngram_size": 3, "typical_p": 1.0, "penalty_alpha": null,
                "guidance_scale": 1, "renormalize_logits": false, "min_p": 0.1, "transformers_version": "5.24.0"})")
          .load();
  EXPECT_THAT(defaults.warnings, ElementsAre(HasSubstr("diversity_penalty = 0.5"),
                                             HasSubstr("encoder_no_repeat_ngram_size = 3"), HasSubstr("min_p = 0.1")));
}

TEST(GenerationConfigTest, WithoutAStartTokenStartsFromPaddingAndSaysSo) {
  const GenerationDefaults defaults = Model(R"("pad_token_id": 4)").load();
  EXPECT_EQ(defaults.options.decoder_start_token_id, 4);
  EXPECT_THAT(defaults.warnings, ElementsAre(HasSubstr("decoder_start_token_id")));
  const GenerationDefaults known = Model(R"("pad_token_id": 4)", R"({"decoder_start_token_id": 2})").load();
  EXPECT_EQ(known.options.decoder_start_token_id, 2);
  EXPECT_THAT(known.warnings, IsEmpty());
}

TEST(GenerationConfigTest, RefusesValuesOfWrongTypeByName) {
  for (const char* text :
       {R"({"num_beams": "many"})", R"({"num_beams": 0})", R"({"top_p": 1.5})", R"({"max_length": 0})",
        R"({"early_stopping": "soon"})", R"({"eos_token_id": [1, "x"]})", R"([1])"}) {
    const Model model(R"("decoder_start_token_id": 0)", text);
    EXPECT_THROW(static_cast<void>(model.load()), FormatError) << text;
  }
}

TEST(GenerationConfigTest, ChecksOptionsAgainstOneAnother) {
  const auto message = [](auto change) -> std::string {
    GenerationOptions options;
    change(options);
    try {
      check_options(options, 100);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message([](GenerationOptions&) {}), "accepted");
  EXPECT_THAT(message([](auto& o) { o.num_return_sequences = 2; }), HasSubstr("2 sequences of 1 beam"));
  EXPECT_THAT(message([](auto& o) { o.num_beams = 2, o.do_sample = true; }), HasSubstr("exclude"));
  EXPECT_THAT(message([](auto& o) { o.do_sample = true, o.temperature = 0.0; }), HasSubstr("temperature"));
  EXPECT_THAT(message([](auto& o) { o.do_sample = true, o.temperature = 1e-300; }), HasSubstr("temperature"));
  EXPECT_THAT(message([](auto& o) { o.do_sample = true, o.temperature = std::nan(""); }), HasSubstr("temperature"));
  EXPECT_THAT(message([](auto& o) { o.repetition_penalty = 1e-200; }), HasSubstr("repetition_penalty"));
  EXPECT_THAT(message([](auto& o) { o.length_penalty = -500.0; }), HasSubstr("length_penalty"));
  EXPECT_THAT(message([](auto& o) { o.length_penalty = std::nan(""); }), HasSubstr("length_penalty"));
  EXPECT_THAT(message([](auto& o) { o.top_p = -0.1; }), HasSubstr("top_p"));
  EXPECT_THAT(message([](auto& o) { o.max_length = 1; }), HasSubstr("max_length"));
  EXPECT_THAT(message([](auto& o) { o.num_beams = 0; }), HasSubstr("beams"));
  EXPECT_THAT(message([](auto& o) { o.forced_bos_token_id = 100; }), HasSubstr("100"));
  EXPECT_THAT(message([](auto& o) { o.decoder_start_token_id = 100; }), HasSubstr("start token"));
  EXPECT_THAT(message([](auto& o) { o.bad_words_ids = {{}}; }), HasSubstr("bad_words_ids"));
  EXPECT_EQ(message([](auto& o) { o.do_sample = true, o.num_return_sequences = 3; }), "accepted");
}

TEST(GenerationConfigTest, SaysWhichOptionsHaveNoEffect) {
  GenerationOptions options;
  const auto without_effect = [&] { return options_without_effect(options, 100); };
  EXPECT_THAT(without_effect(), IsEmpty());
  options.length_penalty = 2.0;
  options.top_k = 5;
  EXPECT_THAT(without_effect(), ElementsAre(HasSubstr("length_penalty"), HasSubstr("top_k")));
  options.num_beams = 2;
  EXPECT_THAT(without_effect(), ElementsAre(HasSubstr("top_k")));
  options = {};
  options.max_length = 10;
  options.max_new_tokens = 5;
  EXPECT_THAT(without_effect(), ElementsAre(HasSubstr("max_length")));
  options = {};
  options.eos_token_ids = {1, 100};
  options.suppress_tokens = {99, 999};
  EXPECT_THAT(without_effect(), ElementsAre(HasSubstr("eos_token_id 100"), HasSubstr("suppress_tokens 999")));
}

}  // namespace
}  // namespace flame::model
