#include "flame/experts/resident_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "flame/base/random.h"
#include "flame/model/generation.h"
#include "flame/model/sequences.h"
#include "flame/model/synth.h"
#include "model/checkpoints.h"
#include "model/plain_device.h"
#include "support/test_data.h"

namespace flame::experts {
namespace {

using model::Stack;

/// The resident device beside one that follows the definition, over the same weights.
class ResidentDeviceTest : public testing::Test {
 protected:
  void make(const std::string& fixture) {
    const auto path = test::data_path("model/" + fixture);
    config = model::load_config(path);
    const auto checkpoint = std::make_shared<const io::Checkpoint>(io::Checkpoint::open(path));
    dense = model::load_dense_weights(checkpoint, config);
    plain = std::make_unique<test::PlainDevice>(config, dense, model::load_expert_weights(checkpoint, config));
    resident = std::make_unique<ResidentDevice>(config, dense, model::load_expert_weights(checkpoint, config));
  }

  /// Random tokens of sequences of the given lengths through both devices.
  void expect_the_same(const std::vector<std::size_t>& lengths) {
    model::Sequences sequences;
    for (const std::size_t length : lengths) sequences.append(length);
    Matrix<float> hidden(sequences.tokens(), config.d_model);
    Random random(lengths.size());
    for (std::size_t i = 0; i < hidden.rows() * hidden.columns(); ++i) {
      hidden.data()[i] = static_cast<float>(random.next_normal());
    }
    for (const Stack stack : {Stack::kEncoder, Stack::kDecoder}) {
      for (std::uint32_t layer = 0; layer < config.moe_layers(stack); ++layer) {
        const model::MoeInput input{{stack, layer}, hidden.view(), sequences.sequence_of_token()};
        std::vector<model::RoutingDecision> wanted(hidden.rows());
        std::vector<model::RoutingDecision> found(hidden.rows());
        plain->route(input, wanted);
        resident->route(input, found);
        EXPECT_EQ(wanted, found);
        Matrix<float> wanted_output(hidden.rows(), config.d_model);
        Matrix<float> output(hidden.rows(), config.d_model, 99.0F);
        plain->compute(input, wanted, wanted_output);
        resident->compute(input, found, output);
        for (std::size_t token = 0; token < hidden.rows(); ++token) {
          for (std::size_t i = 0; i < config.d_model; ++i) {
            ASSERT_NEAR(output.row(token)[i], wanted_output.row(token)[i], 2e-5F) << "token " << token;
          }
        }
      }
    }
  }

  model::SwitchConfig config;
  model::DenseWeights dense;
  std::unique_ptr<test::PlainDevice> plain;
  std::unique_ptr<ResidentDevice> resident;
};

TEST_F(ResidentDeviceTest, ComputesEveryTokenWithItsExpert) {
  for (const char* fixture : {"base", "sixteen_bf16", "step_three_f16", "gelu", "gated"}) {
    make(fixture);
    expect_the_same({1});
    expect_the_same({1, 1, 1, 1, 1});
    expect_the_same({60, 1, 23});
  }
}

TEST_F(ResidentDeviceTest, DroppedTokensGiveZero) {
  make("dropped_untied");
  expect_the_same({12, 7});
  make("capacity_zero");
  expect_the_same({3});
}

TEST_F(ResidentDeviceTest, ComputesWhatItIsToldNotWhatItRouted) {
  make("base");
  Matrix<float> hidden(2, config.d_model, 0.5F);
  const std::vector<std::uint32_t> sequence{0, 1};
  const model::MoeInput input{{Stack::kEncoder, 0}, hidden.view(), sequence};
  std::vector<model::RoutingDecision> decisions(2);
  resident->route(input, decisions);
  decisions[0] = {.expert = 6, .dropped = false, .probability = 0.25F};
  decisions[1] = {.expert = 6, .dropped = true, .probability = 0.25F};
  Matrix<float> wanted(2, config.d_model);
  Matrix<float> output(2, config.d_model);
  plain->compute(input, decisions, wanted);
  resident->compute(input, decisions, output);
  for (std::size_t i = 0; i < config.d_model; ++i) {
    EXPECT_NEAR(output.row(0)[i], wanted.row(0)[i], 1e-5F);
    EXPECT_EQ(output.row(1)[i], 0.0F);
  }
}

TEST_F(ResidentDeviceTest, ASequencesResultDoesNotDependOnTheOthers) {
  make("base");
  model::Generator generator(config, dense, *resident);
  std::vector<std::vector<std::int32_t>> inputs;
  Random random(3);
  for (const int length : {70, 3, 40, 1, 33}) {
    inputs.emplace_back();
    for (int i = 0; i < length; ++i) inputs.back().push_back(static_cast<std::int32_t>(random.next_below(61)));
  }
  model::GenerationOptions options;
  options.num_beams = 5;  // 25 rows: more than the matrix-vector kernel takes at once
  options.max_new_tokens = 8;
  const auto together = generator.generate(inputs, options);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const auto alone = generator.generate({&inputs[i], 1}, options);
    EXPECT_EQ(alone[0].sequences[0].tokens, together[i].sequences[0].tokens);
    EXPECT_EQ(alone[0].sequences[0].score, together[i].sequences[0].score) << "bit for bit";
  }
}

TEST_F(ResidentDeviceTest, EveryLookupIsAHit) {
  make("base");
  resident->begin_statistics();
  expect_the_same({1});
  const model::MoeStatistics statistics = resident->statistics();
  EXPECT_EQ(statistics.hits, 2U);
  EXPECT_EQ(statistics.misses + statistics.late, 0U);
  EXPECT_EQ(statistics.wait_seconds, 0.0);
  EXPECT_EQ(resident->describe(), "cpu, experts resident (f32)");
}

}  // namespace
}  // namespace flame::experts
