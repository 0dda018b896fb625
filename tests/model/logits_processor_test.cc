#include "flame/model/logits_processor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "flame/base/json.h"
#include "flame/io/file.h"
#include "support/test_data.h"

namespace flame::model {
namespace {

using test::data_path;

GenerationOptions options_from(const Json& json) {
  const test::TemporaryDirectory directory;
  std::ofstream(directory / "config.json") << R"({"decoder_start_token_id": 0})";
  std::ofstream(directory / "generation_config.json") << json.dump();
  return load_generation_defaults(directory.path(), load_config(directory.path())).options;
}

TEST(LogitsProcessorTest, GivesWhatTransformersProcessorsAndWarpersGive) {
  const auto path = data_path("model/logits.json");
  const Json document = parse_json(io::read_file(path), path);
  ASSERT_GE(document["cases"].size(), 12U);
  for (const Json& entry : document["cases"]) {
    const GenerationOptions options = options_from(entry["options"]);
    auto scores = entry["scores"].get<std::vector<float>>();
    const auto tokens = entry["tokens"].get<std::vector<std::int32_t>>();
    LogitsProcessor processor(options, scores.size());
    processor.constrain(tokens, scores);
    if (options.do_sample) processor.warp(scores);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const Json& wanted = entry["processed"][i];
      if (wanted.is_null()) {
        EXPECT_EQ(scores[i], -std::numeric_limits<float>::infinity()) << entry["options"].dump() << " token " << i;
      } else {
        EXPECT_FLOAT_EQ(scores[i], wanted.get<float>()) << entry["options"].dump() << " token " << i;
      }
    }
  }
}

TEST(LogitsProcessorTest, PenalisesATokenOnceHoweverOftenItWasSeen) {
  GenerationOptions options;
  options.repetition_penalty = 2.0;
  std::vector<float> scores{4.0F, -4.0F, 1.0F};
  LogitsProcessor processor(options, scores.size());
  processor.constrain(std::vector<std::int32_t>{0, 1, 0, 1, 1}, scores);
  EXPECT_THAT(scores, testing::ElementsAre(2.0F, -8.0F, 1.0F));
}

TEST(LogitsProcessorTest, NaNIsNeverKept) {
  GenerationOptions options;
  options.do_sample = true;
  options.top_k = 3;
  options.top_p = 0.9;
  std::vector<float> scores(100, std::numeric_limits<float>::quiet_NaN());
  scores[40] = 1.0F;
  scores[70] = 0.9F;
  LogitsProcessor processor(options, scores.size());
  processor.warp(scores);
  for (std::size_t i = 0; i < scores.size(); ++i) EXPECT_EQ(std::isfinite(scores[i]), i == 40 || i == 70) << i;
}

TEST(LogitsProcessorTest, LogSoftmaxSumsToOne) {
  std::vector<float> scores{1000.0F, 1001.0F, 999.0F, -std::numeric_limits<float>::infinity()};
  log_softmax(scores);
  double sum = 0.0;
  for (const float score : scores) sum += std::exp(score);
  EXPECT_NEAR(sum, 1.0, 1e-6);
  EXPECT_FLOAT_EQ(scores[1], -0.40760597F);
}

}  // namespace
}  // namespace flame::model
