#include "flame/report/summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "flame/report/time_left.h"
#include "support/test_data.h"

namespace flame::report {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

Json cell(const char* method, const char* pattern, double zeros, double rouge1, double perplexity) {
  return {{"method", method},
          {"pattern", pattern},
          {"zeros", zeros},
          {"perplexity", perplexity},
          {"rouge", {{"rouge1", {{"f", {{"mean", rouge1}, {"low", rouge1 - 0.02}, {"high", rouge1 + 0.02}}}}}}}};
}

Json sweep(double rouge_half, double perplexity_half, double rouge_quarter, double perplexity_quarter) {
  return {{"results",
           {cell("dense", "", 0.0, 0.40, 10.0), cell("magnitude", "2:4", 0.5, rouge_half, perplexity_half),
            cell("magnitude", "1:4", 0.75, rouge_quarter, perplexity_quarter),
            cell("magnitude", "2:16", 0.875, 0.40, 10.0), cell("unstructured", "", 0.75, 0.40, 10.0)}}};
}

TEST(Summary, RecommendsTheSparsestPatternThatCostsNothingSeen) {
  EXPECT_EQ(recommended_pattern(sweep(0.395, 10.5, 0.39, 10.9)), "1:4");
  EXPECT_EQ(recommended_pattern(sweep(0.395, 10.5, 0.37, 10.9)), "2:4") << "ROUGE-1 falls out of the interval";
  EXPECT_EQ(recommended_pattern(sweep(0.395, 10.5, 0.39, 11.1)), "2:4") << "perplexity rises by more than a tenth";
  EXPECT_EQ(recommended_pattern(sweep(0.37, 10.5, 0.30, 20.0)), "dense");
}

class SummaryTest : public ::testing::Test {
 protected:
  /// What a measurement of that name printed.
  void store(const std::string& name, const Json& output) {
    std::filesystem::create_directories(directory_ / "data");
    std::ofstream(directory_ / "data" / (name + ".json")) << Json{{"command", "flame"}, {"output", output}};
  }

  static Json bench(const char* configuration, const char* scope, double seconds) {
    return {{"configuration", configuration},
            {"scope", scope},
            {"pattern", "2:4"},
            {"dtype", "int8"},
            {"slots", 16},
            {"seconds_per_token", {{"median", seconds}, {"min", seconds}, {"max", seconds}}}};
  }

  test::TemporaryDirectory directory_;
};

TEST_F(SummaryTest, TellsWhatEachIdeaGainsFromTheMeasurementsOfThePage) {
  Json results = Json::array();
  for (const auto& [configuration, seconds] :
       {std::pair{"neither", 0.008}, std::pair{"CEPR", 0.004}, std::pair{"N:M", 0.005}, std::pair{"both", 0.002},
        std::pair{"resident", 0.001}}) {
    results.push_back(bench(configuration, "decoder", seconds));
    results.push_back(bench(configuration, "moe", seconds / 2));
  }
  store("bench", {{"results", results}});
  Measurements measurements(directory_ / "data", {}, true, {});
  EXPECT_THAT(summarise({}, measurements).sentences, IsEmpty()) << "no item has asked for it";
  (void)measurements.json({.name = "bench", .arguments = {}});
  const Summary summary = summarise({}, measurements);
  ASSERT_EQ(summary.sentences.size(), 1U);
  EXPECT_THAT(summary.sentences[0], HasSubstr("8.00 ms with neither idea"));
  EXPECT_THAT(summary.sentences[0], HasSubstr("N:M alone makes that 1.60x as fast, CEPR alone 2.00x, both 4.00x"));
  EXPECT_THAT(summary.recommendation, IsEmpty()) << "there is nothing it could rest on";
}

TEST_F(SummaryTest, GivesThePatternWithTheNumbersItRestsOn) {
  store("pruning-sweep", sweep(0.395, 10.5, 0.37, 10.9));
  Measurements measurements(directory_ / "data", {}, true, {});
  (void)measurements.json({.name = "pruning-sweep", .arguments = {}});
  const Summary summary = summarise({}, measurements);
  ASSERT_EQ(summary.recommendation.size(), 1U);
  EXPECT_THAT(summary.recommendation[0], HasSubstr("Pattern: 2:4."));
  EXPECT_THAT(summary.recommendation[0], HasSubstr("ROUGE-1 39.50, perplexity 10.50"));
  EXPECT_THAT(summary.recommendation[0], HasSubstr("1:4 does not (ROUGE-1 37.00"));
}

Subject of_ten_examples() {
  Subject subject;
  subject.test_examples = 10;
  return subject;
}

TEST(TimeLeft, IsUnknownUntilACommandHasRunAndFallsAsItemsAreDone) {
  const std::vector<ItemMaker> items = {{"a", "", {"test.trace"}, nullptr}, {"b", "", {"bench"}, nullptr}};
  TimeLeft left(items, of_ten_examples());
  EXPECT_FALSE(left.seconds().has_value());
  const double usual = TimeLeft::usual_seconds("bench", of_ten_examples());
  left.end("test.trace", TimeLeft::usual_seconds("test.trace", of_ten_examples()));
  ASSERT_TRUE(left.seconds().has_value());
  EXPECT_NEAR(*left.seconds(), usual, 1e-9);
  left.end("test.trace", 1000.0);
  EXPECT_GT(*left.seconds(), 10.0 * usual) << "this machine takes longer than usual";
  left.finish_item(2);
  EXPECT_DOUBLE_EQ(*left.seconds(), 0.0);
}

TEST(TimeLeft, CountsWhatSeveralItemsShareOnce) {
  const std::vector<ItemMaker> items = {
      {"a", "", {"paths"}, nullptr}, {"b", "", {"bench"}, nullptr}, {"c", "", {"bench"}, nullptr}};
  TimeLeft left(items, {});
  left.end("paths", TimeLeft::usual_seconds("paths", {}));
  EXPECT_NEAR(*left.seconds(), TimeLeft::usual_seconds("bench", {}), 1e-9);
}

}  // namespace
}  // namespace flame::report
