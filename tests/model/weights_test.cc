#include "flame/model/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "flame/base/error.h"
#include "model/checkpoints.h"
#include "support/test_data.h"

namespace flame::model {
namespace {

using test::StoredTensor;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kQuery = "decoder.block.1.layer.0.SelfAttention.q.weight";
constexpr const char* kExpert = "encoder.block.3.layer.1.mlp.experts.expert_5.wo.weight";

class WeightsTest : public testing::Test {
 protected:
  void SetUp() override { make(test::small_config()); }

  void make(const SwitchConfig& model, DataType type = DataType::kF32) {
    config = model;
    original = directory / ("model" + std::to_string(++made));
    synthesise(config, original, {.type = type, .seed = 3, .shard_bytes = 1 << 30, .tokenizer = std::nullopt});
  }

  std::shared_ptr<const io::Checkpoint> open() const {
    return std::make_shared<const io::Checkpoint>(io::Checkpoint::open(original));
  }

  std::shared_ptr<const io::Checkpoint> with(const std::function<void(std::vector<StoredTensor>&)>& edit) {
    return test::edited(original, directory / ("edited" + std::to_string(++made) + ".safetensors"), edit);
  }

  static StoredTensor& find(std::vector<StoredTensor>& tensors, const std::string& name) {
    for (StoredTensor& tensor : tensors) {
      if (tensor.name == name) return tensor;
    }
    throw std::logic_error("no " + name);
  }

  std::string message_of(const std::shared_ptr<const io::Checkpoint>& checkpoint, const WeightOptions& options = {}) {
    try {
      static_cast<void>(load_dense_weights(checkpoint, config, options));
      static_cast<void>(load_expert_weights(checkpoint, config, options));
    } catch (const ModelError& error) {
      return error.what();
    }
    return "loaded";
  }

  static void remove(std::vector<StoredTensor>& tensors, const std::string& name) {
    std::erase_if(tensors, [&](const StoredTensor& tensor) { return tensor.name == name; });
  }

  test::TemporaryDirectory directory;
  SwitchConfig config;
  std::filesystem::path original;
  int made = 0;
};

TEST_F(WeightsTest, WeightsOfTheWantedTypeStayWhereTheyAreMapped) {
  const auto checkpoint = open();
  const DenseWeights weights = load_dense_weights(checkpoint, config);
  EXPECT_EQ(weights.decoder.blocks[1].self_attention.q.data, checkpoint->tensor(kQuery).bytes.data());
  EXPECT_EQ(weights.head.data, weights.encoder_embedding.data) << "tied";
  EXPECT_THAT(weights.copies, IsEmpty());
  EXPECT_THAT(weights.warnings, IsEmpty());
  EXPECT_EQ(weights.types, "f32");
  const ExpertWeights experts = load_expert_weights(checkpoint, config);
  EXPECT_EQ(experts.layer({Stack::kEncoder, 1})[5].wo.data, checkpoint->tensor(kExpert).bytes.data());
  EXPECT_EQ(experts.bytes, 2U * 2 * 8 * 2 * 32 * 48 * sizeof(float));
}

TEST_F(WeightsTest, OtherTypesAreConvertedElementByElement) {
  const auto checkpoint = open();
  for (const DataType type : {DataType::kBF16, DataType::kF16}) {
    const DenseWeights weights = load_dense_weights(checkpoint, config, {.type = type, .check_finite = true});
    const kernels::WeightMatrix& query = weights.decoder.blocks[1].self_attention.q;
    ASSERT_EQ(query.type, type);
    float stored = 0.0F;
    for (std::size_t i = 0; i < 32; ++i) {
      std::memcpy(&stored, checkpoint->tensor(kQuery).bytes.data() + i * sizeof(float), sizeof(float));
      const float wanted =
          type == DataType::kBF16 ? BFloat16::from_float(stored).to_float() : Float16::from_float(stored).to_float();
      EXPECT_EQ(kernels::weight_at(query, 0, i), wanted);
    }
    EXPECT_EQ(weights.types, type == DataType::kBF16 ? "bf16" : "f16");
  }
}

TEST_F(WeightsTest, Bf16RoundsMoreThanWeightsOnlyWhenItIsAskedFor) {
  make(test::small_config(), DataType::kBF16);
  const auto checkpoint = open();
  const DenseWeights as_stored = load_dense_weights(checkpoint, config);
  EXPECT_EQ(as_stored.types, "bf16");
  EXPECT_EQ(as_stored.key_value_type, DataType::kF32);
  EXPECT_FALSE(as_stored.decoder.blocks[1].self_attention.q.bf16_inputs);
  const WeightOptions fast{.type = DataType::kBF16, .check_finite = true};
  const DenseWeights asked_for = load_dense_weights(checkpoint, config, fast);
  EXPECT_EQ(asked_for.key_value_type, DataType::kBF16);
  EXPECT_TRUE(asked_for.decoder.blocks[1].self_attention.q.bf16_inputs);
  EXPECT_TRUE(load_expert_weights(checkpoint, config, fast).layer({Stack::kEncoder, 1})[5].wo.bf16_inputs);
}

TEST_F(WeightsTest, WeightsThatNoCacheWillKeepAreReadPastThem) {
  for (const bool streamed : {false, true}) {
    WeightOptions options;
    options.cache_bytes = streamed ? 1 << 10 : 1 << 30;
    EXPECT_EQ(load_dense_weights(open(), config, options).decoder.blocks[1].self_attention.q.streamed, streamed);
    EXPECT_EQ(load_dense_weights(open(), config, options).head.streamed, streamed);
    EXPECT_EQ(load_expert_weights(open(), config, options).layer({Stack::kDecoder, 0})[0].wi.streamed, streamed);
  }
}

TEST_F(WeightsTest, StreamedWeightsOfTheDecoderAndTheHeadAreCopiedWhereLargePagesAreWanted) {
  for (const auto type : {std::optional<DataType>(), std::optional(DataType::kBF16)}) {
    const auto checkpoint = open();
    WeightOptions options{.type = type, .check_finite = true, .cache_bytes = 1 << 10};
    const DenseWeights plain = load_dense_weights(checkpoint, config, options);
    const ExpertWeights plain_experts = load_expert_weights(checkpoint, config, options);
    options.large_pages = true;
    const DenseWeights weights = load_dense_weights(checkpoint, config, options);
    const ExpertWeights experts = load_expert_weights(checkpoint, config, options);
    const auto expect_copied = [](const kernels::WeightMatrix& copy, const kernels::WeightMatrix& mapped) {
      EXPECT_NE(copy.data, mapped.data);
      ASSERT_EQ(copy.size_bytes(), mapped.size_bytes());
      EXPECT_EQ(std::memcmp(copy.data, mapped.data, copy.size_bytes()), 0);
    };
    expect_copied(weights.head, plain.head);
    expect_copied(weights.decoder.blocks[1].self_attention.q, plain.decoder.blocks[1].self_attention.q);
    expect_copied(experts.layer({Stack::kDecoder, 0})[3].wo, plain_experts.layer({Stack::kDecoder, 0})[3].wo);
    EXPECT_EQ(weights.head.data, weights.encoder_embedding.data) << "tied";
    EXPECT_EQ(weights.bytes, plain.bytes);
    if (type) continue;
    EXPECT_EQ(weights.encoder.blocks[0].self_attention.q.data, plain.encoder.blocks[0].self_attention.q.data);
    EXPECT_EQ(experts.layer({Stack::kEncoder, 0})[3].wo.data, plain_experts.layer({Stack::kEncoder, 0})[3].wo.data);
  }
}

TEST_F(WeightsTest, WeightsThatACacheKeepsStayMapped) {
  const auto checkpoint = open();
  const WeightOptions options{.type = {}, .check_finite = true, .cache_bytes = 1 << 30, .large_pages = true};
  EXPECT_THAT(load_dense_weights(checkpoint, config, options).copies, IsEmpty());
}

TEST_F(WeightsTest, NormsAndRoutersStayInFp32) {
  const auto checkpoint = open();
  const DenseWeights weights = load_dense_weights(checkpoint, config, {.type = DataType::kBF16, .check_finite = true});
  float stored = 0.0F;
  std::memcpy(&stored, checkpoint->tensor("encoder.block.1.layer.1.mlp.router.classifier.weight").bytes.data(), 4);
  EXPECT_EQ(weights.encoder.blocks[1].router->classifier.row(0)[0], stored);
}

TEST_F(WeightsTest, NamesEveryMissingTensor) {
  const auto checkpoint = with([](auto& tensors) {
    remove(tensors, kQuery);
    remove(tensors, kExpert);
    remove(tensors, "encoder.final_layer_norm.weight");
  });
  EXPECT_THAT(message_of(checkpoint), testing::AllOf(HasSubstr("missing"), HasSubstr(kQuery), HasSubstr(kExpert),
                                                     HasSubstr("encoder.final_layer_norm.weight")));
}

TEST_F(WeightsTest, NamesTensorsThatAreNotTheModelsBesideTheMissingOnes) {
  const auto checkpoint = with([](auto& tensors) { find(tensors, kQuery).name = "decoder.renamed.weight"; });
  EXPECT_THAT(message_of(checkpoint), testing::AllOf(HasSubstr("missing " + std::string(kQuery)),
                                                     HasSubstr("not part of the model: decoder.renamed.weight")));
}

TEST_F(WeightsTest, ListsTenNamesAndCountsTheRest) {
  const auto checkpoint = with([](auto& tensors) {
    for (StoredTensor& tensor : tensors) {
      if (tensor.shape.size() == 2) std::swap(tensor.shape[0], tensor.shape[1]);
    }
  });
  const std::string message = message_of(checkpoint);
  EXPECT_THAT(message, testing::ContainsRegex("and [0-9]+ more$"));
  EXPECT_LT(message.size(), 2000U);
}

TEST_F(WeightsTest, NamesAWrongShapeAndWhatItShouldBe) {
  const auto checkpoint = with([](auto& tensors) { find(tensors, kQuery).shape = {64, 16}; });
  EXPECT_THAT(message_of(checkpoint),
              testing::AllOf(HasSubstr(kQuery), HasSubstr("F32 [64, 16]"), HasSubstr("F32 [32, 32]")));
}

TEST_F(WeightsTest, NamesAWrongType) {
  const auto checkpoint = with([](auto& tensors) { find(tensors, kExpert).type = DataType::kI32; });
  EXPECT_THAT(message_of(checkpoint), testing::AllOf(HasSubstr(kExpert), HasSubstr("I32 [32, 48]")));
}

TEST_F(WeightsTest, NamesNaNAndInfinityUnlessToldNotToLook) {
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    for (const char* name : {kQuery, kExpert, "encoder.final_layer_norm.weight"}) {
      const auto checkpoint = with([&](auto& tensors) {
        std::memcpy(find(tensors, name).bytes.data() + 7 * sizeof(float), &value, sizeof(value));
      });
      EXPECT_THAT(
          message_of(checkpoint),
          testing::AllOf(HasSubstr(name), HasSubstr(value != value ? "NaN" : "infinity"), HasSubstr("element 7")));
      EXPECT_EQ(message_of(checkpoint, {.type = std::nullopt, .check_finite = false}), "loaded");
    }
  }
}

TEST_F(WeightsTest, FindsNaNInEveryStoredType) {
  for (const DataType type : {DataType::kBF16, DataType::kF16}) {
    make(test::small_config(), type);
    const auto checkpoint = with([&](auto& tensors) {
      const std::uint16_t nan = 0x7fff;
      std::memcpy(find(tensors, kExpert).bytes.data() + 2, &nan, sizeof(nan));
    });
    EXPECT_THAT(message_of(checkpoint), testing::AllOf(HasSubstr("NaN"), HasSubstr("element 1 "))) << name_of(type);
  }
}

TEST_F(WeightsTest, WarnsOfTensorsThatAreNotTheModels) {
  const auto checkpoint = with([](auto& tensors) {
    tensors.push_back({"optimizer.step", DataType::kF32, {1}, std::vector<std::byte>(4)});
  });
  EXPECT_THAT(load_dense_weights(checkpoint, config).warnings, testing::ElementsAre(HasSubstr("optimizer.step")));
}

TEST_F(WeightsTest, DoubleBecomesSingle) {
  const auto checkpoint = with([](auto& tensors) {
    StoredTensor& tensor = find(tensors, kQuery);
    std::vector<std::byte> bytes(tensor.bytes.size() * 2);
    for (std::size_t i = 0; i < tensor.bytes.size() / 4; ++i) {
      float value = 0.0F;
      std::memcpy(&value, tensor.bytes.data() + 4 * i, 4);
      const double wide = value;
      std::memcpy(bytes.data() + 8 * i, &wide, 8);
    }
    tensor.type = DataType::kF64;
    tensor.bytes = bytes;
  });
  const DenseWeights weights = load_dense_weights(checkpoint, config);
  const DenseWeights plain = load_dense_weights(open(), config);
  const kernels::WeightMatrix& query = weights.decoder.blocks[1].self_attention.q;
  EXPECT_EQ(query.type, DataType::kF32);
  EXPECT_EQ(std::memcmp(query.data, plain.decoder.blocks[1].self_attention.q.data, query.size_bytes()), 0);
}

TEST_F(WeightsTest, TiedEmbeddingsMayHaveAnyOfTheirNames) {
  for (const std::string_view name : {kEncoderEmbedding, kDecoderEmbedding, kHead}) {
    const auto checkpoint =
        with([&](auto& tensors) { find(tensors, std::string(kSharedEmbedding)).name = std::string(name); });
    const DenseWeights weights = load_dense_weights(checkpoint, config);
    EXPECT_EQ(weights.decoder_embedding.data, checkpoint->tensor(name).bytes.data());
    EXPECT_EQ(weights.head.data, weights.encoder_embedding.data);
    EXPECT_THAT(weights.warnings, IsEmpty());
  }
  EXPECT_THAT(message_of(with([](auto& tensors) { remove(tensors, std::string(kSharedEmbedding)); })),
              HasSubstr("shared.weight"));
}

TEST_F(WeightsTest, CopiesOfATiedEmbeddingAreNotCountedTwice) {
  const auto checkpoint = with([](auto& tensors) {
    StoredTensor copy = find(tensors, std::string(kSharedEmbedding));
    copy.name = std::string(kHead);
    tensors.push_back(copy);
  });
  const DenseWeights weights = load_dense_weights(checkpoint, config);
  EXPECT_EQ(weights.head.data, weights.encoder_embedding.data);
  EXPECT_EQ(weights.bytes, load_dense_weights(open(), config).bytes);
}

TEST_F(WeightsTest, AHeadThatDiffersIsKeptThoughTheConfigSaysTied) {
  const auto checkpoint = with([](auto& tensors) {
    StoredTensor copy = find(tensors, std::string(kSharedEmbedding));
    copy.name = std::string(kHead);
    copy.bytes[5] ^= std::byte{1};
    tensors.push_back(copy);
  });
  const DenseWeights weights = load_dense_weights(checkpoint, config);
  EXPECT_NE(weights.head.data, weights.encoder_embedding.data);
  EXPECT_THAT(weights.warnings, testing::ElementsAre(HasSubstr("lm_head.weight differs")));
}

TEST_F(WeightsTest, UntiedModelsNeedAHeadAndMayLeaveTheStacksEmbeddingsToShared) {
  SwitchConfig untied = test::small_config();
  untied.tie_word_embeddings = false;
  make(untied);
  EXPECT_THAT(load_dense_weights(open(), config).warnings, IsEmpty());
  EXPECT_THAT(message_of(with([](auto& tensors) { remove(tensors, std::string(kHead)); })),
              HasSubstr("lm_head.weight"));
  const auto checkpoint = with([](auto& tensors) {
    remove(tensors, std::string(kEncoderEmbedding));
    remove(tensors, std::string(kDecoderEmbedding));
  });
  const DenseWeights weights = load_dense_weights(checkpoint, config);
  EXPECT_EQ(weights.encoder_embedding.data, checkpoint->tensor(kSharedEmbedding).bytes.data());
  EXPECT_THAT(weights.warnings, testing::SizeIs(2));
}

TEST_F(WeightsTest, DenseWeightsLoadFromAFileWithoutExperts) {
  const auto checkpoint = with([](auto& tensors) {
    std::erase_if(tensors, [](const StoredTensor& tensor) { return tensor.name.find("experts") != std::string::npos; });
  });
  EXPECT_NO_THROW(static_cast<void>(load_dense_weights(checkpoint, config)));
  EXPECT_THROW(static_cast<void>(load_expert_weights(checkpoint, config)), ModelError);
}

TEST_F(WeightsTest, RefusesATypeThatItCannotComputeWith) {
  for (const DataType type : {DataType::kI8, DataType::kF64}) {
    EXPECT_THROW(static_cast<void>(load_dense_weights(open(), config, {.type = type})), UsageError);
    EXPECT_THROW(static_cast<void>(load_expert_weights(open(), config, {.type = type})), UsageError);
  }
}

TEST_F(WeightsTest, RefusesAMixtureOfGatedAndPlainLayers) {
  const auto checkpoint = with([](auto& tensors) {
    find(tensors, "encoder.block.0.layer.1.mlp.wi.weight").name = "encoder.block.0.layer.1.mlp.wi_0.weight";
  });
  EXPECT_THAT(message_of(checkpoint), HasSubstr("gate"));
}

}  // namespace
}  // namespace flame::model
