#include "flame/model/beam_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <tuple>
#include <vector>

namespace flame::model {
namespace {

using testing::ElementsAre;

constexpr std::size_t kVocabulary = 5;

GenerationOptions two_beams() {
  GenerationOptions options;
  options.num_beams = 2;
  options.num_return_sequences = 2;
  options.max_new_tokens = 3;
  options.eos_token_ids = {1};
  return options;
}

/// Log probabilities of one step: the same row for both beams unless the second is given.
Matrix<float> step(const std::vector<double>& first, const std::vector<double>& second = {}) {
  Matrix<float> rows(2, kVocabulary);
  for (std::size_t i = 0; i < kVocabulary; ++i) {
    rows.row(0)[i] = static_cast<float>(std::log(first[i]));
    rows.row(1)[i] = static_cast<float>(std::log((second.empty() ? first : second)[i]));
  }
  return rows;
}

TEST(BeamSearchTest, StartsFromOneBeamOnly) {
  const GenerationOptions options = two_beams();
  BeamSearch search(options, kVocabulary);
  search.advance(step({0.1, 0.1, 0.5, 0.25, 0.05}));
  EXPECT_THAT(search.parents(), ElementsAre(0, 0));
  EXPECT_THAT(search.running()[0].tokens, ElementsAre(0, 2));
  EXPECT_THAT(search.running()[1].tokens, ElementsAre(0, 3));
  EXPECT_FLOAT_EQ(search.running()[1].score, std::log(0.25F));
  EXPECT_FALSE(search.done());
}

// Those of transformers are compared in parity_test.
TEST(BeamSearchTest, ABeamThatNeverFinishedIsOfPaddingOrEndTokensAndScoresTheLeast) {
  GenerationOptions options = two_beams();
  options.max_new_tokens = 1;
  for (const auto& [padding, ends, fill] :
       {std::tuple{0, std::vector{1}, 1}, std::tuple{3, std::vector{1}, 3}, std::tuple{0, std::vector<int>{}, -1}}) {
    options.pad_token_id = padding;
    options.eos_token_ids = ends;
    BeamSearch search(options, kVocabulary);
    search.advance(step({0.0, 0.0, 1.0, 0.0, 0.0}));
    ASSERT_TRUE(search.done());
    EXPECT_THAT(search.finished()[0].tokens, ElementsAre(0, 2));
    EXPECT_THAT(search.finished()[1].tokens, ElementsAre(0, fill));
    EXPECT_EQ(search.finished()[1].score, kNeverFinished);
  }
}

TEST(BeamSearchTest, ReturnsNothingButPlaceholdersWhereEveryScoreIsTooLow) {
  GenerationOptions options = two_beams();
  options.length_penalty = -100.0;
  BeamSearch search(options, kVocabulary);
  search.advance(step({0.3, 0.1, 0.2, 0.2, 0.2}));
  search.advance(step({0.3, 0.1, 0.2, 0.2, 0.2}));
  ASSERT_TRUE(search.done());
  for (const Beam& beam : search.finished()) EXPECT_LE(beam.score, kNeverFinished);
}

TEST(BeamSearchTest, ReturnsTheBestSequencesAtTheLengthLimit) {
  const GenerationOptions options = two_beams();
  BeamSearch search(options, kVocabulary);
  search.advance(step({0.1, 0.1, 0.5, 0.25, 0.05}));
  // The second beam's best continuation overtakes the first's.
  search.advance(step({0.25, 0.05, 0.25, 0.25, 0.2}, {0.01, 0.01, 0.01, 0.01, 0.96}));
  EXPECT_THAT(search.parents(), ElementsAre(1, 0));
  search.advance(step({0.3, 0.1, 0.4, 0.1, 0.1}, {0.2, 0.2, 0.2, 0.2, 0.2}));
  ASSERT_TRUE(search.done());
  EXPECT_THAT(search.finished()[0].tokens, ElementsAre(0, 3, 4, 2));
  EXPECT_NEAR(search.finished()[0].score, std::log(0.25 * 0.96 * 0.4) / 3.0, 1e-6);
  EXPECT_THAT(search.finished()[1].tokens, ElementsAre(0, 3, 4, 0));
}

TEST(BeamSearchTest, KeepsAFinishedSequenceAndGoesOnWithTheOthers) {
  const GenerationOptions options = two_beams();
  BeamSearch search(options, kVocabulary);
  search.advance(step({0.04, 0.6, 0.3, 0.03, 0.03}));  // the end token is the best candidate
  EXPECT_THAT(search.running()[0].tokens, ElementsAre(0, 2));
  EXPECT_FALSE(search.done());
  search.advance(step({0.04, 0.9, 0.02, 0.02, 0.02}));
  ASSERT_TRUE(search.done()) << "two are finished and neither running beam can beat them";
  // Divided by the length: log(0.27) / 2 is above log(0.6) / 1.
  EXPECT_THAT(search.finished()[0].tokens, ElementsAre(0, 1));
  EXPECT_NEAR(search.finished()[0].score, std::log(0.6), 1e-6);
  EXPECT_THAT(search.finished()[1].tokens, ElementsAre(0, 2, 1));
  EXPECT_NEAR(search.finished()[1].score, std::log(0.27) / 2.0, 1e-6);
}

TEST(BeamSearchTest, EarlyStoppingEndsAsSoonAsAllBeamsAreFinished) {
  for (const EarlyStopping early : {EarlyStopping::kTrue, EarlyStopping::kNever}) {
    GenerationOptions options = two_beams();
    options.max_new_tokens = 10;
    options.early_stopping = early;
    BeamSearch search(options, kVocabulary);
    search.advance(step({0.0001, 0.5, 0.4999, 0.0, 0.0}));
    search.advance(step({0.44, 0.45, 0.11, 0.0, 0.0}));
    EXPECT_EQ(search.done(), early == EarlyStopping::kTrue) << "a longer sequence may have a better mean";
  }
}

// Of the candidates 0, 1 (the end), 2, 3 torch.topk(k=2) takes the last two: PyTorch 2.15 on a processor.
TEST(BeamSearchTest, EqualScoresOfTheFirstTokensFallAsTorchLetsThem) {
  const GenerationOptions options = two_beams();
  BeamSearch search(options, kVocabulary);
  search.advance(step({0.2, 0.2, 0.2, 0.2, 0.2}));
  EXPECT_THAT(search.running()[0].tokens, ElementsAre(0, 2));
  EXPECT_THAT(search.running()[1].tokens, ElementsAre(0, 3));
}

}  // namespace
}  // namespace flame::model
