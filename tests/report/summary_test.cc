#include "flame/report/summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "flame/report/time_left.h"
#include "support/test_data.h"

namespace flame::report {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

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

  /// As if items had asked for all that is stored.
  Summary summarise_all() {
    Measurements measurements(directory_ / "data", {}, true, {});
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_ / "data")) {
      names.insert(entry.path().stem().string());
    }
    measurements.add_asked(names);
    return summarise({}, measurements);
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
  EXPECT_THAT(summary.recommendation[0], HasSubstr("interval, which begins at 38.00"));
  EXPECT_THAT(summary.recommendation[0], HasSubstr("1:4 misses that (ROUGE-1 37.00"));
}

TEST_F(SummaryTest, SaysWhyItLeavesAModelDense) {
  store("pruning-sweep", sweep(0.37, 10.5, 0.30, 20.0));
  const Summary summary = summarise_all();
  ASSERT_EQ(summary.recommendation.size(), 1U);
  EXPECT_THAT(summary.recommendation[0], HasSubstr("Pattern: dense. Pruned by magnitude in one shot, neither"));
  EXPECT_THAT(summary.recommendation[0], HasSubstr("ROUGE-1 40.00, perplexity 10.00; the interval begins at 38.00"));
}

/// Recommendations of dtype, predictor and slots for a model of 16 experts, with 2:4 as pattern.
class RecommendationTest : public SummaryTest {
 protected:
  RecommendationTest() {
    Json formats = Json::array();
    for (const auto& [pattern, scale] : {std::pair{"1:1", 4}, std::pair{"2:4", 2}, std::pair{"1:4", 1}}) {
      for (const auto& [dtype, bytes] : {std::pair{"bf16", 16384}, std::pair{"int8", 8192}, std::pair{"int4", 4096}}) {
        formats.push_back({{"pattern", pattern}, {"dtype", dtype}, {"expert_bytes", scale * bytes}});
      }
    }
    store("inspect", {{"experts", 16}, {"formats", formats}});
    store("pruning-sweep", sweep(0.395, 10.5, 0.37, 10.9));
  }

  void store_scores(const std::string& pattern, const std::vector<std::pair<std::string, double>>& scores) {
    for (const auto& [dtype, rouge1] : scores) {
      store("dtype-" + pattern + "-" + dtype, cell("magnitude", "", 0.0, rouge1, 10.0));
    }
  }

  /// Of one predictor: seconds a token at 4, 8 and (unless `partial`) all 16 slots.
  struct Replay {
    const char* predictor;
    double at_four;
    double at_eight;
    double at_all;
  };
  void store_replay(const std::string& name, const std::vector<Replay>& replays, bool partial = false) {
    Json results = Json::array();
    for (const Replay& replay : replays) {
      for (const auto& [slots, seconds] :
           {std::pair{4, replay.at_four}, std::pair{8, replay.at_eight}, std::pair{16, replay.at_all}}) {
        if (partial && slots == 16) continue;
        results.push_back({{"predictor", replay.predictor},
                           {"slots", slots},
                           {"latency_seconds", seconds},
                           {"hit_ratio", slots / 16.0}});
      }
    }
    store(name, {{"results", results}});
  }

  /// The recommendation that begins with `subject`; empty where there is none.
  std::string advice(const std::string& subject) {
    for (const std::string& sentence : summarise_all().recommendation) {
      if (sentence.starts_with(subject)) return sentence;
    }
    return {};
  }
};

const std::vector<std::pair<std::string, double>> kAllTypesEqual = {{"bf16", 0.40}, {"int8", 0.40}, {"int4", 0.395}};

TEST_F(RecommendationTest, TakesTheSmallestTypeThatIsNotBelowTheIntervalOfBf16) {
  store_scores("2_4", kAllTypesEqual);
  EXPECT_EQ(advice("Dtype"),
            "Dtype: int4. An expert takes 8192 bytes, in bf16 32768; ROUGE-1 is 39.50, not below the 95 % interval of "
            "bf16 (40.00, from 38.00 on). The accelerator takes int8.");
  store_scores("2_4", {{"int4", 0.35}});
  EXPECT_EQ(advice("Dtype"),
            "Dtype: int8. An expert takes 16384 bytes, in bf16 32768; ROUGE-1 is 40.00, not below the 95 % interval of "
            "bf16 (40.00, from 38.00 on). int4 falls below it, 35.00.");
  store_scores("2_4", {{"int8", 0.379}});
  EXPECT_EQ(advice("Dtype"),
            "Dtype: bf16. An expert takes 32768 bytes; ROUGE-1 is 40.00, its 95 % interval begins at 38.00. int8 falls "
            "below it, 37.90.");
}

TEST_F(RecommendationTest, SaysNothingOfTypesThatWereNotScored) {
  store_scores("2_4", {{"bf16", 0.40}});
  EXPECT_EQ(advice("Dtype"),
            "Dtype: bf16. An expert takes 32768 bytes; ROUGE-1 is 40.00, its 95 % interval begins at 38.00.");
}

TEST_F(RecommendationTest, NamesTheFastestPredictorOfTheReplayAndWhatItIsHeldAgainst) {
  store_scores("2_4", {{"bf16", 0.40}, {"int8", 0.40}, {"int4", 0.30}});
  store_replay("buffer-2_4", {{"cepr", 0.004, 0.003, 0.001},
                              {"mix", 0.003, 0.002, 0.001},
                              {"none", 0.005, 0.004, 0.001},
                              {"lru", 0.006, 0.005, 0.001},
                              {"oracle", 0.002, 0.0015, 0.001},
                              {"belady", 0.001, 0.001, 0.001}});
  EXPECT_EQ(
      advice("Predictor"),
      "Predictor: mix. Replayed with 4 slots of 2:4 int8 experts it gives 3.00 ms a token (25.00 % hits); without "
      "prediction, `none` (the same replacement) gives 5.00 ms and LRU 6.00 ms; an oracle, which is no bound, 2.00 "
      "ms.");
  EXPECT_EQ(advice("Slots"),
            "Slots: 4 of 16. So many 2:4 int8 experts fit into 64.0 KiB, each of 16384 bytes. 16 slots are the fewest "
            "replayed that come within a tenth of having everything resident, more than the budget holds.");
}

TEST_F(RecommendationTest, HoldsWhatThePredictorStoresAgainstTheBudget) {
  store_scores("2_4", {{"bf16", 0.40}, {"int8", 0.40}, {"int4", 0.30}});
  store_replay("buffer-2_4", {{"mix", 0.003, 0.002, 0.001},
                              {"none", 0.005, 0.004, 0.001},
                              {"lru", 0.006, 0.005, 0.001},
                              {"oracle", 0.002, 0.0015, 0.001}});
  store("prediction", {{"results", {{{"predictor", "mix"}, {"k", 2}, {"m", 0}, {"index_bytes", 49152}}}}});
  EXPECT_THAT(advice("Predictor"),
              HasSubstr("It stores 49152 bytes at k = 2, beside the budget and 75.00 % of its size."));
}

TEST_F(RecommendationTest, CountsAnExpertThatEndsWithinAPageAsItsSlot) {
  store("inspect", {{"experts", 16},
                    {"formats",
                     {{{"pattern", "2:4"}, {"dtype", "bf16"}, {"expert_bytes", 32768}},
                      {{"pattern", "2:4"}, {"dtype", "int8"}, {"expert_bytes", 12289}}}}});
  store_scores("2_4", {{"bf16", 0.40}, {"int8", 0.40}});
  store_replay("buffer-2_4",
               {{"none", 0.005, 0.004, 0.001}, {"lru", 0.006, 0.005, 0.001}, {"oracle", 0.002, 0.0015, 0.001}});
  EXPECT_THAT(advice("Slots"), HasSubstr("fit into 64.0 KiB, each of 12289 bytes in a slot of 16384, whole pages."));
}

TEST_F(RecommendationTest, AdvisesAgainstPredictionWhereItDoesNotPay) {
  store_scores("2_4", {{"bf16", 0.40}, {"int8", 0.40}});
  store_replay("buffer-2_4", {{"cepr", 0.004, 0.003, 0.002},
                              {"none", 0.002, 0.002, 0.002},
                              {"lru", 0.003, 0.003, 0.002},
                              {"oracle", 0.0019, 0.0019, 0.002}});
  EXPECT_THAT(advice("Predictor"), HasSubstr("Predictor: none. Replayed with 4 slots of 2:4 int8 experts no prediction "
                                             "that was replayed is faster than its 2.00 ms a token"));
  EXPECT_THAT(advice("Slots"),
              HasSubstr("4 slots are the fewest replayed that come within a tenth of having everything "
                        "resident, so the budget is enough."));
}

TEST_F(RecommendationTest, LooksAtTheReplayOfThePatternThatItRecommends) {
  store("pruning-sweep", sweep(0.395, 10.5, 0.39, 10.9));
  store_scores("1_4", {{"bf16", 0.40}, {"int8", 0.40}});
  store_replay("buffer-2_4", {{"cepr", 9.0, 9.0, 9.0}, {"none", 1, 1, 1}, {"lru", 1, 1, 1}, {"oracle", 1, 1, 1}});
  store_replay("buffer-1_4",
               {{"cepr", 0.002, 0.001, 0.001}, {"none", 1, 1, 1}, {"lru", 1, 1, 1}, {"oracle", 0.001, 0.001, 0.001}});
  EXPECT_THAT(advice("Predictor"), HasSubstr("Predictor: cepr with m = 3. Replayed with 8 slots of 1:4 int8 experts"));
  EXPECT_THAT(advice("Slots"), HasSubstr("Slots: 8 of 16."));
}

TEST_F(RecommendationTest, ClaimsNothingOfFullMemoryThatWasNotReplayed) {
  store_scores("2_4", {{"bf16", 0.40}, {"int8", 0.40}});
  store_replay("buffer-2_4", {{"cepr", 0.002, 0.001, 0.001}, {"none", 1, 1, 1}, {"lru", 1, 1, 1}, {"oracle", 1, 1, 1}},
               true);
  EXPECT_THAT(advice("Slots"), Not(HasSubstr("resident")));
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
