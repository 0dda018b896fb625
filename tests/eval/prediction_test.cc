#include "flame/eval/prediction.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/io/file.h"
#include "routing/synthetic_trace.h"
#include "support/test_data.h"

namespace flame::eval {
namespace {

using routing::Profile;
using routing::Trace;
using ::testing::HasSubstr;

Profile profile_of(const Trace& trace) {
  Profile profile(trace.info, routing::fitting_options({}, trace.info.experts));
  profile.add(trace);
  return profile;
}

const PredictionResult& find(const PredictionReport& report, const std::string& predictor, std::uint32_t m,
                             std::uint32_t k, std::uint32_t depth = 1) {
  for (const PredictionResult& result : report.results) {
    if (result.predictor == predictor && result.m == m && result.k == k && result.depth == depth) return result;
  }
  throw Error("no result of " + predictor);
}

TEST(EvaluatePrediction, AgreesWithThePythonReferenceToTheLastCount) {
  const Trace counted = routing::read_trace(flame::test::data_path("routing/profiled.safetensors"));
  const Trace scored = routing::read_trace(flame::test::data_path("routing/scored.safetensors"));
  const auto path = flame::test::data_path("routing/reference.json");
  const Json reference = parse_json(io::read_file(path), path);
  PredictionRequest request;
  request.predictors = {"cepr", "incremental"};
  request.bootstrap.samples = 0;
  const PredictionReport report = evaluate_prediction(scored, profile_of(counted), request);
  ASSERT_EQ(report.results.size(), reference["results"].size());
  for (const Json& expected : reference["results"]) {
    const PredictionResult& found =
        find(report, expected["predictor"], expected["m"].get<std::uint32_t>(), expected["k"].get<std::uint32_t>());
    EXPECT_EQ(found.positions, expected["positions"].get<std::uint64_t>());
    EXPECT_EQ(found.correct, expected["correct"].get<std::uint64_t>()) << expected;
    EXPECT_EQ(found.layer_correct, expected["per_layer_correct"].get<std::vector<std::uint64_t>>()) << expected;
  }
}

TEST(EvaluatePrediction, RefusesExamplesThatTheProfileCounted) {
  const Trace counted = routing::test::random_trace(4, 2, 5, 6, 1);
  Trace scored = routing::test::random_trace(4, 2, 3, 6, 2);
  scored.append(counted);
  const Profile profile = profile_of(counted);
  PredictionRequest request;
  request.predictors = {"popularity"};
  try {
    (void)evaluate_prediction(scored, profile, request);
    ADD_FAILURE() << "scored what had been counted";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("5 of the trace's 8 examples"));
  }
  request.skip_overlapping = true;
  const PredictionReport report = evaluate_prediction(scored, profile, request);
  EXPECT_EQ(report.overlapping, 5U);
  EXPECT_EQ(report.examples, 3U);
  EXPECT_EQ(report.results.front().positions, 3U * 6 * 2);
}

TEST(EvaluatePrediction, RefusesATraceOfWhichNoExampleIsLeft) {
  const Trace counted = routing::test::random_trace(4, 2, 5, 6, 1);
  PredictionRequest request;
  request.predictors = {"popularity"};
  request.skip_overlapping = true;
  EXPECT_THROW((void)evaluate_prediction(counted, profile_of(counted), request), UsageError);
}

TEST(EvaluatePrediction, RefusesAProfileOfAnotherModel) {
  const Trace counted = routing::test::random_trace(4, 2, 5, 6, 1);
  Trace scored = routing::test::random_trace(4, 2, 3, 6, 2);
  scored.info.checksum = "00000000000000bb";
  EXPECT_THROW((void)evaluate_prediction(scored, profile_of(counted), {}), UsageError);
}

TEST(EvaluatePrediction, CountsOnlyPositionsOfTheSameExampleAhead) {
  const Trace counted = routing::test::random_trace(4, 3, 5, 6, 1);
  const Trace scored = routing::test::random_trace(4, 3, 2, 6, 2);
  PredictionRequest request;
  request.predictors = {"cepr"};
  request.depths = {1, 2, 3};
  const PredictionReport report = evaluate_prediction(scored, profile_of(counted), request);
  EXPECT_EQ(find(report, "cepr", 1, 1, 1).positions, 2U * 18);
  EXPECT_EQ(find(report, "cepr", 1, 1, 2).positions, 2U * 17);
  EXPECT_EQ(find(report, "cepr", 1, 1, 3).positions, 2U * 16);
  EXPECT_EQ(find(report, "cepr", 1, 4, 3).correct, 2U * 16) << "all experts are named";
}

TEST(EvaluatePrediction, LeavesOutWhatIsBeyondAPredictorsReach) {
  const Trace counted = routing::test::random_trace(4, 5, 5, 6, 1);
  const Trace scored = routing::test::random_trace(4, 5, 2, 6, 2);
  PredictionRequest request;
  request.predictors = {"cepr", "token", "popularity"};
  request.depths = {3, 4, 6};
  const PredictionReport report = evaluate_prediction(scored, profile_of(counted), request);
  EXPECT_NO_THROW((void)find(report, "cepr", 1, 1, 3));
  EXPECT_THROW((void)find(report, "cepr", 1, 1, 4), Error) << "contexts are counted three layers ahead";
  EXPECT_NO_THROW((void)find(report, "token", 0, 1, 4));
  EXPECT_NO_THROW((void)find(report, "popularity", 0, 1, 4)) << "it is the same at every distance";
  EXPECT_THROW((void)find(report, "token", 0, 1, 6), Error) << "five layers on the layer itself comes again";
  ASSERT_EQ(report.beyond.size(), 4U);  // cepr at 4 and 6, the others at 6
  EXPECT_EQ(to_json(report)["beyond_reach"][0], (Json{{"predictor", "cepr"}, {"depth", 4}, {"farthest", 3}}));
  EXPECT_THAT(prediction_table(report, {4}, false),
              HasSubstr("not so far ahead (layers that they tell apart): cepr (3)"));
  request.depths = {6};
  EXPECT_THROW((void)evaluate_prediction(scored, profile_of(counted), request), UsageError);
}

TEST(EvaluatePrediction, GivesIntervalsThatHoldTheAccuracyAndPromisesThatAreKept) {
  // One expert in four positions out of five, else any of the others.
  std::mt19937_64 random(3);
  const auto next = [&](const auto&, std::uint32_t, std::int32_t) {
    return static_cast<std::uint16_t>(random() % 5 == 0 ? 1 + random() % 3 : 0);
  };
  const Trace counted = routing::test::synthetic_trace(4, 2, 50, 20, 1, next);
  const Trace scored = routing::test::synthetic_trace(4, 2, 50, 20, 2, next);
  PredictionRequest request;
  request.predictors = {"popularity", "random", "lru"};
  const PredictionReport report = evaluate_prediction(scored, profile_of(counted), request);
  const PredictionResult& popularity = find(report, "popularity", 0, 1);
  EXPECT_NEAR(popularity.accuracy.mean, 0.8, 0.04);
  EXPECT_LT(popularity.accuracy.low, popularity.accuracy.mean);
  EXPECT_GT(popularity.accuracy.high, popularity.accuracy.mean);
  EXPECT_LT(popularity.accuracy.high - popularity.accuracy.low, 0.08);
  EXPECT_NEAR(popularity.promised, 0.8, 0.03);
  const double entropy = -(0.8 * std::log(0.8) + 0.2 * std::log(0.2 / 3));
  EXPECT_NEAR(popularity.log_loss, entropy, 0.06);
  EXPECT_NEAR(find(report, "random", 0, 1).log_loss, std::log(4.0), 1e-4);
  EXPECT_FALSE(find(report, "lru", 0, 1).has_probabilities);
}

TEST(EvaluatePrediction, ByDefaultMeasuresEveryPredictorThereIsDataFor) {
  const Trace counted = routing::test::random_trace(4, 2, 5, 6, 1);
  const Trace scored = routing::test::random_trace(4, 2, 3, 6, 2);
  const std::vector<std::string> names = available_predictors(scored, profile_of(counted));
  for (const char* expected : {"cepr", "incremental", "popularity", "random", "previous-token", "edgemoe", "lru",
                               "lifo", "oracle", "belady", "token", "backoff", "online"}) {
    EXPECT_THAT(names, ::testing::Contains(expected));
  }
  EXPECT_THAT(names, ::testing::Not(::testing::Contains("lookahead"))) << "the profile has no maps";
  EXPECT_THAT(names, ::testing::Not(::testing::Contains("mix")));
  const PredictionReport report = evaluate_prediction(scored, profile_of(counted), {});
  EXPECT_EQ(find(report, "cepr", 6, 4).correct, find(report, "oracle", 0, 1).correct);
}

TEST(EqualStorage, ComparesWhatFits) {
  const Trace counted = routing::test::random_trace(8, 6, 20, 20, 1);
  const Trace scored = routing::test::random_trace(8, 6, 5, 20, 2);
  PredictionRequest request;
  request.predictors = {"cepr", "incremental", "token", "oracle"};
  request.budgets = {200, 2048};
  const PredictionReport report = evaluate_prediction(scored, profile_of(counted), request);
  const std::vector<StorageRow> rows = equal_storage(report, {200, 2048}, {1});
  ASSERT_EQ(rows.size(), 2U);
  ASSERT_NE(rows[0].cepr, nullptr);
  EXPECT_LE(rows[0].cepr->m, 2U) << "cepr(3) takes 1152 bytes";
  ASSERT_NE(rows[1].best, nullptr);
  EXPECT_NE(rows[1].best->predictor, "oracle") << "it cannot run while decoding";
  EXPECT_GE(rows[1].best->correct, rows[1].cepr->correct);
}

TEST(PredictionReport, IsWrittenAsJsonWithRawCounts) {
  const Trace counted = routing::test::random_trace(4, 2, 5, 6, 1);
  const Trace scored = routing::test::random_trace(4, 2, 3, 6, 2);
  PredictionRequest request;
  request.predictors = {"cepr"};
  request.orders = {2};
  request.ranks = {1, 3};
  const PredictionReport report = evaluate_prediction(scored, profile_of(counted), request);
  const Json json = to_json(report);
  ASSERT_EQ(json["results"].size(), 2U);
  const Json& first = json["results"][0];
  EXPECT_EQ(first["predictor"], "cepr");
  EXPECT_EQ(first["m"], 2);
  EXPECT_EQ(first["k"], 1);
  EXPECT_EQ(first["positions"], 36);
  EXPECT_EQ(first["correct"], report.results[0].correct);
  EXPECT_EQ(first["per_layer"].size(), 2U);
  EXPECT_EQ(first["index_bytes"], (2 * 16 * 2 + 7) / 8);
  EXPECT_THAT(prediction_table(report, {1}, true), HasSubstr("cepr(2)"));
  EXPECT_THAT(storage_table(report, {1024}), HasSubstr("cepr(2)"));
}

}  // namespace
}  // namespace flame::eval
