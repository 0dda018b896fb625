#pragma once

#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "flame/experts/bundle.h"
#include "flame/experts/pack_bundle.h"
#include "flame/io/checkpoint.h"
#include "flame/model/synth.h"
#include "flame/model/weights.h"
#include "flame/routing/profile.h"
#include "support/test_data.h"

namespace flame::test {

/// A small random model with three MoE layers in each stack: an expert takes several blocks of a bundle.
inline model::SwitchConfig tiny_config() {
  model::SwitchConfig config;
  config.vocab_size = 200;
  config.d_model = 64;
  config.d_kv = 16;
  config.d_ff = 512;
  config.num_heads = 4;
  config.num_layers = 6;
  config.num_decoder_layers = 6;
  config.num_sparse_encoder_layers = 3;
  config.num_sparse_decoder_layers = 3;
  config.encoder_sparse_step = 2;
  config.decoder_sparse_step = 2;
  config.num_experts = 8;
  config.decoder_start_token_id = 0;
  return config;
}

/// A profile with some structure: after an expert mostly its successor, in every layer.
inline routing::Profile tiny_profile(const model::SwitchConfig& config) {
  routing::Trace trace;
  trace.info.experts = config.num_experts;
  trace.info.encoder_layers = config.moe_layers(model::Stack::kEncoder);
  trace.info.decoder_layers = config.moe_layers(model::Stack::kDecoder);
  trace.info.d_model = config.d_model;
  trace.info.vocabulary = config.vocab_size;
  std::mt19937 random(5);
  for (const bool encoder : {true, false}) {
    routing::StackTrace& stack = encoder ? trace.encoder : trace.decoder;
    stack.layers = encoder ? trace.info.encoder_layers : trace.info.decoder_layers;
    std::uint32_t expert = 0;
    for (int step = 0; step < 200; ++step) {
      stack.token.push_back(static_cast<std::int32_t>(random() % config.vocab_size));
      stack.example.push_back(step / 20);
      for (std::uint32_t layer = 0; layer < stack.layers; ++layer) {
        expert = random() % 4 == 0 ? static_cast<std::uint32_t>(random() % config.num_experts)
                                   : (expert + 1) % config.num_experts;
        stack.experts.push_back(static_cast<std::uint16_t>(expert));
        stack.probability.push_back(Float16::from_float(0.5F));
        if (encoder) stack.dropped.push_back(0);
      }
    }
  }
  routing::Profile profile(trace.info, routing::ProfileOptions{});
  profile.add(trace);
  return profile;
}

/// The model as a checkpoint, and bundles of it.
class TinyModel {
 public:
  TinyModel() {
    model::SynthOptions options;
    options.type = DataType::kF32;
    options.seed = 3;
    model::synthesise(config, checkpoint(), options);
    tiny_profile(config).write(directory_ / "profile.json");
    dense =
        model::load_dense_weights(std::make_shared<const io::Checkpoint>(io::Checkpoint::open(checkpoint())), config);
  }

  [[nodiscard]] std::filesystem::path checkpoint() const { return directory_ / "checkpoint"; }
  [[nodiscard]] std::filesystem::path operator/(std::string_view name) const { return directory_ / name; }

  experts::PackOptions pack_options(const std::string& pattern, kernels::PackedType type) const {
    experts::PackOptions options;
    if (!pattern.empty()) options.patterns = sparsity::LayerPatterns::parse(pattern);
    options.type = type;
    options.profile = directory_ / "profile.json";
    options.existing = io::Existing::kReplace;
    return options;
  }
  std::shared_ptr<const experts::Bundle> pack(const std::string& name, const std::string& pattern,
                                              kernels::PackedType type) const {
    static_cast<void>(experts::pack_bundle(checkpoint(), directory_ / name, pack_options(pattern, type)));
    return std::make_shared<const experts::Bundle>(experts::Bundle::open(directory_ / name));
  }

  const model::SwitchConfig config = tiny_config();
  model::DenseWeights dense;

 private:
  TemporaryDirectory directory_;
};

}  // namespace flame::test
