#include "flame/model/synth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "flame/base/error.h"
#include "flame/base/random.h"
#include "flame/base/thread_pool.h"
#include "flame/io/file.h"
#include "flame/model/generation.h"
#include "flame/model/inspect.h"
#include "model/checkpoints.h"
#include "model/plain_device.h"
#include "support/test_data.h"

namespace flame::model {
namespace {

SynthOptions options_with(DataType type, std::uint64_t seed, std::uint64_t shard_bytes = 1 << 30) {
  return {.type = type, .seed = seed, .shard_bytes = shard_bytes, .tokenizer = std::nullopt};
}

TEST(SynthTest, TheSameSeedGivesTheSameBytesOnAnyNumberOfThreads) {
  const test::TemporaryDirectory directory;
  const SwitchConfig config = test::small_config();
  std::vector<std::string> files;
  for (const std::size_t threads : {1U, 2U, 5U}) {
    ThreadPool::set_threads(threads);
    const auto path = directory / ("threads" + std::to_string(threads));
    synthesise(config, path, options_with(DataType::kBF16, 7));
    files.push_back(io::read_file(path / "model.safetensors"));
  }
  ThreadPool::set_threads(0);
  EXPECT_EQ(files[0], files[1]);
  EXPECT_EQ(files[0], files[2]);
  synthesise(config, directory / "other", options_with(DataType::kBF16, 8));
  EXPECT_NE(files[0], io::read_file(directory / "other/model.safetensors"));
}

TEST(SynthTest, WritesAModelThatLoadsWithoutComplaint) {
  const test::TemporaryDirectory directory;
  for (const bool tied : {true, false}) {
    SwitchConfig config = test::small_config();
    config.tie_word_embeddings = tied;
    config.router_bias = !tied;
    const auto path = directory / (tied ? "tied" : "untied");
    std::uint64_t reported = 0;
    std::uint64_t total = 0;
    synthesise(config, path, options_with(DataType::kF16, 1), [&](std::uint64_t done, std::uint64_t all) {
      EXPECT_GT(done, reported);
      reported = done;
      total = all;
    });
    EXPECT_EQ(reported, total);
    EXPECT_EQ(load_config(path), config);
    const auto checkpoint = std::make_shared<const io::Checkpoint>(io::Checkpoint::open(path));
    EXPECT_EQ(checkpoint->total_bytes(), total);
    EXPECT_THAT(load_dense_weights(checkpoint, config).warnings, testing::IsEmpty());
    EXPECT_THAT(load_generation_defaults(path, config).warnings, testing::IsEmpty());
    if (tied) {
      EXPECT_EQ(total, count_parameters(config).total() * 2);
    }
  }
}

TEST(SynthTest, ShardsHoldTheSameTensorsAsOneFile) {
  const test::TemporaryDirectory directory;
  const SwitchConfig config = test::small_config();
  synthesise(config, directory / "one", options_with(DataType::kBF16, 5));
  synthesise(config, directory / "many", options_with(DataType::kBF16, 5, 50'000));
  const io::Checkpoint one = io::Checkpoint::open(directory / "one");
  const io::Checkpoint many = io::Checkpoint::open(directory / "many");
  EXPECT_GT(many.files().size(), 3U);
  EXPECT_EQ(one.content_checksum(), many.content_checksum());
}

TEST(SynthTest, RefusesADirectoryThatIsThereAndTypesItCannotMake) {
  const test::TemporaryDirectory directory;
  const SwitchConfig config = test::small_config();
  synthesise(config, directory / "model", options_with(DataType::kBF16, 5));
  EXPECT_THROW(synthesise(config, directory / "model", options_with(DataType::kBF16, 5)), UsageError);
  EXPECT_THROW(synthesise(config, directory / "int8", options_with(DataType::kI8, 5)), UsageError);
  EXPECT_FALSE(std::filesystem::exists(directory / "int8"));
}

TEST(SynthTest, RoutingIsNeitherConstantNorUniform) {
  const test::TemporaryDirectory directory;
  SwitchConfig config = test::small_config();
  config.d_model = 128;
  config.d_kv = 32;
  config.d_ff = 256;
  config.vocab_size = 2000;
  config.num_layers = config.num_decoder_layers = 12;
  config.num_sparse_encoder_layers = config.num_sparse_decoder_layers = 6;
  synthesise(config, directory / "model", options_with(DataType::kF32, 11));
  const auto checkpoint = std::make_shared<const io::Checkpoint>(io::Checkpoint::open(directory / "model"));
  const DenseWeights dense = load_dense_weights(checkpoint, config);
  test::PlainDevice device(config, dense, load_expert_weights(checkpoint, config));
  Generator generator(config, dense, device);
  std::vector<std::vector<std::int32_t>> inputs(6);
  Random random(1);
  for (auto& input : inputs) {
    for (int i = 0; i < 40; ++i) input.push_back(static_cast<std::int32_t>(random.next_below(config.vocab_size)));
  }
  GenerationOptions options;
  options.max_new_tokens = 40;
  options.eos_token_ids = {};
  const std::vector<GenerationResult> results = generator.generate(inputs, options);

  std::map<std::pair<int, std::uint32_t>, std::vector<std::size_t>> counts;
  double probability = 0.0;
  std::size_t tokens = 0;
  for (const auto& pass : device.log()) {
    auto& of_layer = counts[{static_cast<int>(pass.layer.stack), pass.layer.index}];
    of_layer.resize(config.num_experts);
    for (const RoutingDecision& decision : pass.decisions) {
      ASSERT_TRUE(std::isfinite(decision.probability));
      ++of_layer[decision.expert];
      probability += decision.probability;
      ++tokens;
    }
  }
  ASSERT_EQ(counts.size(), 12U);
  double mean_share = 0.0;
  for (const auto& [layer, of_layer] : counts) {
    const std::size_t most = *std::ranges::max_element(of_layer);
    const auto all = static_cast<double>(6 * 40);
    EXPECT_LT(static_cast<double>(most), 0.95 * all) << "layer " << layer.second << " of stack " << layer.first;
    EXPECT_GE(std::ranges::count_if(of_layer, [](std::size_t count) { return count > 0; }), 2);
    mean_share += static_cast<double>(most) / all / 12.0;
  }
  RecordProperty("mean_share_of_the_busiest_expert", std::to_string(mean_share));
  RecordProperty("mean_probability", std::to_string(probability / static_cast<double>(tokens)));
  // Uniform would be 1/8 and a router without opinion gives 1/8 as probability.
  EXPECT_GT(mean_share, 0.2);
  EXPECT_LT(mean_share, 0.7);
  EXPECT_GT(probability / static_cast<double>(tokens), 0.3);
  EXPECT_LT(probability / static_cast<double>(tokens), 0.8);
  // Nor does decoding fall into one token.
  std::map<std::int32_t, int> seen;
  for (const GenerationResult& result : results) {
    for (const std::int32_t token : result.sequences[0].tokens) ++seen[token];
  }
  RecordProperty("distinct_tokens", static_cast<int>(seen.size()));
  EXPECT_GT(seen.size(), 20U);
}

TEST(SynthTest, CopiesATokenizer) {
  const test::TemporaryDirectory directory;
  io::FileSystem::real().create(directory / "spiece.model")->append(std::string_view("pieces"));
  SynthOptions options = options_with(DataType::kBF16, 1);
  options.tokenizer = directory / "spiece.model";
  synthesise(test::small_config(), directory / "model", options);
  EXPECT_EQ(io::read_file(directory / "model/spiece.model"), "pieces");
  options.tokenizer = directory / "none.model";
  EXPECT_THROW(synthesise(test::small_config(), directory / "other", options), FileError);
}

TEST(SynthTest, PresetsDifferInTheirExpertsOnly) {
  EXPECT_EQ(presets().size(), 6U);
  EXPECT_EQ(find_preset("switch-base-128")->config.num_experts, 128U);
  EXPECT_EQ(find_preset("switch-base-256")->config.num_experts, 256U);
  EXPECT_EQ(find_preset("switch-base-8")->config.d_ff, 3072U);
  EXPECT_EQ(find_preset("switch-xxl"), nullptr);
  SwitchConfig four = find_preset("switch-base-8")->config;
  four.num_experts = 4;
  EXPECT_EQ(load_config_or_preset("switch-base-4"), four);
  for (const char* name : {"switch-base-0", "switch-base-", "switch-base-8x", "switch-base-1000", "switch-base--4"}) {
    EXPECT_THROW((void)load_config_or_preset(name), FileError) << name;
  }
}

}  // namespace
}  // namespace flame::model
