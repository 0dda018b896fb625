// What transformers computes from the same checkpoints (tools/parity/make_fixtures.py), and what FLAME does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "flame/base/json.h"
#include "flame/io/checkpoint.h"
#include "flame/io/file.h"
#include "flame/model/decoder.h"
#include "flame/model/encoder.h"
#include "flame/model/generation.h"
#include "model/plain_device.h"
#include "support/test_data.h"

namespace flame::model {
namespace {

using test::data_path;

constexpr float kLogitTolerance = 1e-4F;

/// A fixture: checkpoint, model and expectations.
struct Case {
  explicit Case(const std::string& name, const WeightOptions& options = {.type = DataType::kF32, .check_finite = true})
      : directory(data_path("model/" + name)),
        config(load_config(directory)),
        checkpoint(std::make_shared<io::Checkpoint>(io::Checkpoint::open(directory))),
        dense(load_dense_weights(checkpoint, config, options)),
        device(config, dense, load_expert_weights(checkpoint, config, options)),
        tensors(io::Checkpoint::open(directory / "expected.safetensors")),
        expected(parse_json(io::read_file(directory / "expected.json"), directory / "expected.json")),
        inputs(expected["inputs"].get<std::vector<std::vector<std::int32_t>>>()),
        targets(expected["targets"].get<std::vector<std::vector<std::int32_t>>>()) {}

  [[nodiscard]] float expected_float(const std::string& tensor, std::size_t index) const {
    float value = 0;
    std::memcpy(&value, tensors.tensor(tensor).bytes.data() + index * sizeof(value), sizeof(value));
    return value;
  }
  [[nodiscard]] std::int32_t expected_expert(const std::string& tensor, std::size_t index) const {
    std::int32_t value = 0;
    std::memcpy(&value, tensors.tensor(tensor).bytes.data() + index * sizeof(value), sizeof(value));
    return value;
  }

  std::filesystem::path directory;
  SwitchConfig config;
  std::shared_ptr<io::Checkpoint> checkpoint;
  DenseWeights dense;
  test::PlainDevice device;
  io::Checkpoint tensors;
  Json expected;
  std::vector<std::vector<std::int32_t>> inputs;
  std::vector<std::vector<std::int32_t>> targets;
};

/// The options of one entry of expected.json, through the files that users have them in.
GenerationOptions options_of(const Case& fixture, const Json& entry) {
  const test::TemporaryDirectory directory;
  std::filesystem::copy(fixture.directory / "config.json", directory / "config.json");
  std::ofstream(directory / "generation_config.json") << entry["options"].dump();
  const GenerationDefaults defaults = load_generation_defaults(directory.path(), fixture.config);
  EXPECT_THAT(defaults.warnings, testing::IsEmpty());
  return defaults.options;
}

void expect_results(const std::vector<GenerationResult>& results, const Json& entry, const std::string& what) {
  ASSERT_EQ(results.size(), entry["outputs"].size());
  for (std::size_t input = 0; input < results.size(); ++input) {
    const Json& wanted = entry["outputs"][input];
    ASSERT_EQ(results[input].sequences.size(), wanted.size()) << what;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const GeneratedSequence& sequence = results[input].sequences[i];
      EXPECT_EQ(sequence.tokens, wanted[i]["tokens"].get<std::vector<std::int32_t>>())
          << what << ", input " << input << ", sequence " << i << ", " << entry["options"].dump();
      if (wanted[i].contains("score")) {
        const auto score = wanted[i]["score"].get<float>();
        EXPECT_NEAR(sequence.score.value_or(0.0F), score, kLogitTolerance * std::max(1.0F, std::abs(score))) << what;
      }
    }
  }
}

class ParityTest : public testing::TestWithParam<std::string> {};

TEST_P(ParityTest, LogitsOfATeacherForcedPassAreTransformers) {
  Case fixture(GetParam());
  Encoder encoder(fixture.config, fixture.dense, fixture.device);
  Decoder decoder(fixture.config, fixture.dense, fixture.device);
  fixture.device.begin_batch(fixture.inputs.size());
  const MatrixView<const float> encoded = encoder.encode(fixture.inputs);
  decoder.begin(encoder.sequences(), encoded, 4);
  std::size_t tokens = 0;
  for (const auto& target : fixture.targets) tokens += target.size();
  Matrix<float> logits(tokens, fixture.config.vocab_size);
  decoder.extend(fixture.targets, logits);

  float worst = 0.0F;
  std::size_t row = 0;
  std::size_t encoded_row = 0;
  for (std::size_t input = 0; input < fixture.inputs.size(); ++input) {
    const std::string prefix = std::to_string(input);
    for (std::size_t i = 0; i < fixture.inputs[input].size() * fixture.config.d_model; ++i) {
      const float found = encoded.row(encoded_row + i / fixture.config.d_model)[i % fixture.config.d_model];
      worst = std::max(worst, std::abs(found - fixture.expected_float(prefix + ".encoded", i)));
    }
    encoded_row += fixture.inputs[input].size();
    for (std::size_t i = 0; i < fixture.targets[input].size() * fixture.config.vocab_size; ++i) {
      const float found = logits.row(row + i / fixture.config.vocab_size)[i % fixture.config.vocab_size];
      worst = std::max(worst, std::abs(found - fixture.expected_float(prefix + ".logits", i)));
    }
    row += fixture.targets[input].size();
  }
  RecordProperty("worst_difference", std::to_string(worst));
  EXPECT_LE(worst, kLogitTolerance);
}

TEST_P(ParityTest, RoutersDecideAsTransformersDo) {
  Case fixture(GetParam());
  Encoder encoder(fixture.config, fixture.dense, fixture.device);
  Decoder decoder(fixture.config, fixture.dense, fixture.device);
  fixture.device.begin_batch(fixture.inputs.size());
  const MatrixView<const float> encoded = encoder.encode(fixture.inputs);
  decoder.begin(encoder.sequences(), encoded, 4);
  decoder.extend(fixture.targets, {});

  ASSERT_EQ(fixture.device.log().size(),
            fixture.config.moe_layers(Stack::kEncoder) + fixture.config.moe_layers(Stack::kDecoder));
  for (const auto& pass : fixture.device.log()) {
    std::size_t position = 0;  // within the sequence
    for (std::size_t token = 0; token < pass.decisions.size(); ++token) {
      position = token > 0 && pass.sequence[token] == pass.sequence[token - 1] ? position + 1 : 0;
      const std::string prefix = std::to_string(pass.sequence[token]) + "." + std::string(name_of(pass.layer.stack)) +
                                 "." + std::to_string(pass.layer.index);
      const RoutingDecision& decision = pass.decisions[token];
      EXPECT_EQ(decision.expert, fixture.expected_expert(prefix + ".expert", position)) << prefix << " " << position;
      EXPECT_EQ(decision.dropped ? 1 : 0, static_cast<int>(fixture.tensors.tensor(prefix + ".dropped").bytes[position]))
          << prefix << " " << position;
      EXPECT_NEAR(decision.probability, fixture.expected_float(prefix + ".probability", position), 1e-5F) << prefix;
    }
  }
}

TEST_P(ParityTest, GeneratesTheSameTokens) {
  Case fixture(GetParam());
  Generator generator(fixture.config, fixture.dense, fixture.device);
  for (const Json& entry : fixture.expected["generate"]) {
    const GenerationOptions options = options_of(fixture, entry);
    std::vector<GenerationResult> alone;
    for (const auto& input : fixture.inputs) alone.push_back(generator.generate({&input, 1}, options).front());
    expect_results(alone, entry, GetParam() + " one by one");
    expect_results(generator.generate(fixture.inputs, options), entry, GetParam() + " as a batch");
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, ParityTest,
                         testing::Values("base", "one_expert", "dropped_untied", "capacity_zero", "sixteen_bf16",
                                         "step_three_f16", "no_sparse", "one_layer", "bin_mixed", "sharded",
                                         "bin_sharded", "router_bias", "router_bf16", "gelu", "gelu_new_wide_heads",
                                         "silu_buckets", "gated", "head_differs", "start_and_ends"),
                         [](const auto& test) { return test.param; });

TEST(ParityTest, CoversDroppedTokens) {
  const Case fixture("dropped_untied");
  std::size_t dropped = 0;
  for (const std::string& name : fixture.tensors.names()) {
    if (!name.ends_with(".dropped")) continue;
    for (const std::byte byte : fixture.tensors.tensor(name).bytes) dropped += static_cast<std::size_t>(byte);
  }
  EXPECT_GT(dropped, 10U);
}

}  // namespace
}  // namespace flame::model
