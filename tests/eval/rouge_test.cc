#include "flame/eval/rouge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "support/test_data.h"

namespace flame::eval {
namespace {

const nlohmann::json& fixture() {
  static const nlohmann::json json = nlohmann::json::parse(std::ifstream(test::data_path("eval/rouge.json")));
  return json;
}

void expect_scores(const RougeScores& scores, const nlohmann::json& expected, const std::string& what) {
  for (const RougeMeasure measure : kRougeMeasures) {
    const nlohmann::json& values = expected.at(std::string(name_of(measure)));
    EXPECT_NEAR(scores[measure].precision, values[0].get<double>(), 1e-9) << name_of(measure) << ": " << what;
    EXPECT_NEAR(scores[measure].recall, values[1].get<double>(), 1e-9) << name_of(measure) << ": " << what;
    EXPECT_NEAR(scores[measure].f, values[2].get<double>(), 1e-9) << name_of(measure) << ": " << what;
  }
}

TEST(Rouge, EqualsTheRougeScorePackageAgainstOneReference) {
  ASSERT_GT(fixture()["one"].size(), 100U);
  for (const nlohmann::json& pair : fixture()["one"]) {
    expect_scores(
        rouge(pair["reference"].get<std::string>(), pair["prediction"].get<std::string>(), pair["stem"].get<bool>()),
        pair["scores"], pair.dump());
  }
}

TEST(Rouge, EqualsTheRougeScorePackageAgainstSeveralReferences) {
  ASSERT_FALSE(fixture()["many"].empty());
  for (const nlohmann::json& set : fixture()["many"]) {
    const auto references = set["references"].get<std::vector<std::string>>();
    const auto prediction = set["prediction"].get<std::string>();
    expect_scores(rouge(references, prediction, true, ManyReferences::kBest), set["best"], set.dump());
    expect_scores(rouge(references, prediction, true, ManyReferences::kMean), set["mean"], set.dump());
  }
}

TEST(Rouge, IntervalsAgreeWithTheRougeScorePackage) {
  std::vector<RougeScores> examples;
  for (const nlohmann::json& pair : fixture()["one"]) {
    if (!pair["stem"].get<bool>()) continue;
    examples.push_back(rouge(pair["reference"].get<std::string>(), pair["prediction"].get<std::string>(), true));
  }
  const RougeSummary summary = summarize(examples, Bootstrap{.samples = 20000});
  for (const RougeMeasure measure : kRougeMeasures) {
    const nlohmann::json& expected = fixture()["interval"].at(std::string(name_of(measure)));
    EXPECT_NEAR(summary[measure].precision.low, expected[0][0].get<double>(), 5e-3);
    EXPECT_NEAR(summary[measure].recall.low, expected[0][1].get<double>(), 5e-3);
    EXPECT_NEAR(summary[measure].f.low, expected[0][2].get<double>(), 5e-3);
    EXPECT_NEAR(summary[measure].f.high, expected[1][2].get<double>(), 5e-3);
  }
}

TEST(Rouge, WordsAreLowerCaseAsciiRuns) {
  EXPECT_THAT(rouge_words("Don't  PANIC, 42\xc3\xa9x\n", false), testing::ElementsAre("don", "t", "panic", "42", "x"));
}

TEST(Rouge, BytesThatAreNotUtf8OnlySeparateWords) {
  EXPECT_THAT(rouge_words("a\xff\xc4"
                          "b\xe2\x84",
                          true),
              testing::ElementsAre("a", "b"));
}

RC_GTEST_PROP(Rouge, ATextEqualsItself, ()) {
  const auto words = *rc::gen::nonEmpty(rc::gen::container<std::vector<std::string>>(
      rc::gen::nonEmpty(rc::gen::container<std::string>(rc::gen::inRange('a', 'f')))));
  std::string text;
  for (const std::string& word : words) text += word + " ";
  const RougeScores scores = rouge(text, text, true);
  RC_ASSERT(scores[RougeMeasure::kRouge1].f == 1.0);
  RC_ASSERT(scores[RougeMeasure::kRougeL].f == 1.0);
  RC_ASSERT(scores[RougeMeasure::kRougeLsum].f == 1.0);
}

RC_GTEST_PROP(Rouge, PrecisionAndRecallSwapWithTheTexts, (const std::string& a, const std::string& b)) {
  const RougeScores there = rouge(a, b, false);
  const RougeScores back = rouge(b, a, false);
  for (const RougeMeasure measure : {RougeMeasure::kRouge1, RougeMeasure::kRouge2, RougeMeasure::kRougeL}) {
    RC_ASSERT(there[measure].precision == back[measure].recall);
    RC_ASSERT(there[measure].f == back[measure].f);
  }
}

}  // namespace
}  // namespace flame::eval
