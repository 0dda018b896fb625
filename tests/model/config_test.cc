#include "flame/model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "flame/base/error.h"
#include "flame/model/synth.h"
#include "support/test_data.h"

namespace flame::model {
namespace {

using test::data_path;

SwitchConfig parse(const std::string& members) { return parse_config("{" + members + "}", "config.json"); }

std::string message_of(const std::string& members) {
  try {
    static_cast<void>(parse(members));
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

std::vector<std::uint32_t> sparse_blocks(const SwitchConfig& config, Stack stack) {
  std::vector<std::uint32_t> blocks;
  for (std::uint32_t block = 0; block < config.layers(stack); ++block) {
    if (config.is_sparse(stack, block)) blocks.push_back(block);
  }
  return blocks;
}

TEST(ConfigTest, MissingKeysHaveTheDefaultsOfTransformersClass) {
  const SwitchConfig config = parse(R"("model_type": "switch_transformers")");
  EXPECT_EQ(config, SwitchConfig());
  EXPECT_EQ(config.vocab_size, 32128U);
  EXPECT_EQ(config.d_ff, 2048U);
  EXPECT_EQ(config.num_sparse_encoder_layers, 3U);
  EXPECT_EQ(config.encoder_sparse_step, 4U);
  EXPECT_EQ(config.eos_token_ids, std::vector<std::int32_t>{1});
  EXPECT_EQ(config.pad_token_id, 0);
  EXPECT_FALSE(config.decoder_start_token_id.has_value());
  EXPECT_TRUE(config.tie_word_embeddings);
}

TEST(ConfigTest, ReadsThePublishedConfigurations) {
  for (const std::string name : {"switch-base-8", "switch-base-16", "switch-base-32"}) {
    const SwitchConfig config = load_config(data_path("model/configs/" + name + ".json"));
    EXPECT_EQ(config, find_preset(name)->config) << name;
    EXPECT_EQ(config.moe_layers(Stack::kEncoder), 6U);
    EXPECT_THAT(sparse_blocks(config, Stack::kDecoder), testing::ElementsAre(1, 3, 5, 7, 9, 11));
    EXPECT_EQ(config.block_of({Stack::kDecoder, 2}), 5U);
  }
  const SwitchConfig tiny = load_config(data_path("model/configs/tiny-random-switch.json"));
  EXPECT_EQ(tiny.moe_layers(Stack::kEncoder), 5U);
  EXPECT_EQ(tiny.block_of({Stack::kEncoder, 4}), 4U);
}

// Observed with transformers 5.24.
TEST(ConfigTest, SparseLayersAreThoseThatTransformersMakes) {
  const auto blocks = [](const std::string& members) { return sparse_blocks(parse(members), Stack::kEncoder); };
  using testing::ElementsAre;
  using testing::IsEmpty;
  EXPECT_THAT(blocks(R"("num_layers": 4, "num_sparse_encoder_layers": 3)"), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(blocks(R"("num_layers": 5, "num_sparse_encoder_layers": 2)"), ElementsAre(1, 3));
  EXPECT_THAT(blocks(R"("num_layers": 4, "num_sparse_encoder_layers": 0)"), ElementsAre(1)) << "meant to be none";
  EXPECT_THAT(blocks(R"("num_layers": 1, "num_sparse_encoder_layers": 0)"), ElementsAre(0));
  EXPECT_THAT(blocks(R"("num_layers": 4, "num_sparse_encoder_layers": 6)"), IsEmpty());
}

TEST(ConfigTest, ASparseStepInTheFileWinsOverTheNumberOfSparseLayers) {
  const SwitchConfig config = parse(
      R"("num_layers": 4, "num_decoder_layers": 4, "num_sparse_encoder_layers": 4, "encoder_sparse_step": 3,
         "num_sparse_decoder_layers": 2, "decoder_sparse_step": 0)");
  EXPECT_THAT(sparse_blocks(config, Stack::kEncoder), testing::ElementsAre(1));
  EXPECT_THAT(sparse_blocks(config, Stack::kDecoder), testing::IsEmpty());
}

TEST(ConfigTest, DecoderLayersAreTheEncodersWhenNull) {
  EXPECT_EQ(parse(R"("num_layers": 3, "num_decoder_layers": null)").num_decoder_layers, 3U);
  EXPECT_EQ(parse(R"("num_layers": 3)").num_decoder_layers, 12U);
}

// Observed with transformers 5.24 (its attribute_map).
TEST(ConfigTest, TransformersOtherNamesOfKeysWinOverTheirOwn) {
  const SwitchConfig config = parse(
      R"("hidden_size": 32, "d_model": 64, "num_attention_heads": 3, "num_hidden_layers": 4, "num_layers": 6,
         "num_sparse_encoder_layers": 3)");
  EXPECT_EQ(config.d_model, 32U);
  EXPECT_EQ(config.num_heads, 3U);
  EXPECT_EQ(config.num_layers, 4U);
  EXPECT_EQ(config.encoder_sparse_step, 2U) << "of num_layers";
  EXPECT_EQ(parse(R"("num_hidden_layers": 4, "num_decoder_layers": null)").num_decoder_layers, 12U);
  EXPECT_THAT(message_of(R"("hidden_size": 0)"), testing::HasSubstr("hidden_size"));
  EXPECT_THAT(message_of(R"("num_attention_heads": 32768, "d_kv": 65536)"), testing::HasSubstr("num_heads * d_kv"));
}

TEST(ConfigTest, AcceptsOneEndTokenSeveralOrNone) {
  EXPECT_THAT(parse(R"("eos_token_id": 7)").eos_token_ids, testing::ElementsAre(7));
  EXPECT_THAT(parse(R"("eos_token_id": [7, 9])").eos_token_ids, testing::ElementsAre(7, 9));
  EXPECT_THAT(parse(R"("eos_token_id": null)").eos_token_ids, testing::IsEmpty());
}

TEST(ConfigTest, GatedActivationsFollowT5sRule) {
  EXPECT_EQ(parse(R"("feed_forward_proj": "gated-gelu")").gated_activation, Activation::kGeluNew);
  EXPECT_EQ(parse(R"("feed_forward_proj": "gated-gelu")").activation, Activation::kRelu)
      << "transformers ignores the key";
  EXPECT_EQ(parse(R"("feed_forward_proj": "gated-silu")").gated_activation, Activation::kSilu);
  EXPECT_EQ(parse(R"("dense_act_fn": "gelu")").gated_activation, Activation::kGelu);
  EXPECT_EQ(parse(R"("feed_forward_proj": "relu")").gated_activation, Activation::kRelu);
}

TEST(ConfigTest, RefusesWhatItCannotRunByName) {
  using testing::AllOf;
  using testing::HasSubstr;
  EXPECT_THAT(message_of(R"("architectures": ["T5ForConditionalGeneration"])"),
              AllOf(HasSubstr("config.json"), HasSubstr("T5ForConditionalGeneration")));
  EXPECT_THAT(message_of(R"("model_type": "mixtral")"), HasSubstr("mixtral"));
  EXPECT_THAT(message_of(R"("dense_act_fn": "mish")"), HasSubstr("mish"));
  EXPECT_THAT(message_of(R"("router_dtype": "int8")"), HasSubstr("int8"));
  EXPECT_THAT(message_of(R"("num_selected_experts": 2)"), HasSubstr("num_selected_experts is 2"));
  EXPECT_THAT(message_of(R"("is_encoder_decoder": false)"), HasSubstr("is_encoder_decoder"));
  EXPECT_THAT(message_of(R"("quantization_config": {"quant_method": "gptq"})"), HasSubstr("quantization_config"));
  EXPECT_EQ(message_of(R"("quantization_config": null, "is_encoder_decoder": true)"), "accepted");
}

TEST(ConfigTest, RefusesValuesOutOfRangeByKey) {
  using testing::HasSubstr;
  for (const char* key : {"vocab_size", "d_model", "d_kv", "d_ff", "num_heads", "num_layers", "num_experts"}) {
    EXPECT_THAT(message_of('"' + std::string(key) + "\": 0"), HasSubstr(key));
    EXPECT_THAT(message_of('"' + std::string(key) + "\": -1"), HasSubstr(key));
    EXPECT_THAT(message_of('"' + std::string(key) + "\": 99999999999"), HasSubstr(key));
    EXPECT_THAT(message_of('"' + std::string(key) + "\": \"8\""), HasSubstr(key));
    EXPECT_THAT(message_of('"' + std::string(key) + "\": 8.5"), HasSubstr(key));
  }
  EXPECT_THAT(message_of(R"("num_heads": 32768, "d_kv": 65536)"), HasSubstr("num_heads * d_kv"));
  EXPECT_THAT(message_of(R"("relative_attention_num_buckets": 2)"), HasSubstr("relative_attention_num_buckets"));
  EXPECT_THAT(message_of(R"("relative_attention_max_distance": 0)"), HasSubstr("relative_attention_max_distance"));
  EXPECT_THAT(message_of(R"("eos_token_id": -1)"), HasSubstr("eos_token_id"));
  EXPECT_THROW(static_cast<void>(parse_config("[1]", "config.json")), FormatError);
  EXPECT_THROW(static_cast<void>(parse_config("{", "config.json")), FormatError);
}

TEST(ConfigTest, WhatIsWrittenReadsBackTheSame) {
  SwitchConfig config = find_preset("switch-base-16")->config;
  config.eos_token_ids = {1, 5};
  config.tie_word_embeddings = false;
  config.activation = config.gated_activation = Activation::kGeluNew;
  config.router_dtype = DataType::kBF16;
  config.layer_norm_epsilon = 3.5e-5F;
  config.num_decoder_layers = 7;
  config.decoder_sparse_step = 0;
  EXPECT_EQ(parse_config(to_json(config, DataType::kBF16), "config.json"), config);
}

TEST(ConfigTest, NamesAMissingFile) {
  const test::TemporaryDirectory directory;
  EXPECT_THROW(static_cast<void>(load_config(directory.path())), ModelError);
  EXPECT_THROW(static_cast<void>(load_config(directory / "none.json")), FileError);
}

}  // namespace
}  // namespace flame::model
