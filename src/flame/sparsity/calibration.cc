#include "flame/sparsity/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <optional>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/model/decoder.h"
#include "flame/model/encoder.h"
#include "flame/model/generation.h"
#include "flame/model/router.h"
#include "flame/model/weights.h"
#include "flame/sparsity/expert_network.h"

namespace flame::sparsity {
namespace {

constexpr std::size_t kBatch = 8;             // examples that run together
constexpr std::size_t kGeneratedTokens = 64;  // at most, for an example without a target

bool comes_before(model::MoeLayer a, model::MoeLayer b) {
  return std::pair(a.stack, a.index) < std::pair(b.stack, b.index);
}

/// Computes experts straight from the checkpoint's tensors, and keeps what reaches one layer. Layers behind that one
/// are not computed: nothing of them is looked at.
class CapturingDevice final : public model::MoeDevice {
 public:
  CapturingDevice(const model::SwitchConfig& config, const model::DenseWeights& dense,
                  const model::ExpertWeights& experts)
      : experts_(experts), activation_(dense.activation) {
    for (const model::Stack stack : {model::Stack::kEncoder, model::Stack::kDecoder}) {
      const model::StackWeights& weights = stack == model::Stack::kEncoder ? dense.encoder : dense.decoder;
      for (const model::BlockWeights& block : weights.blocks) {
        if (!block.router) continue;
        routers_of(stack).emplace_back(*block.router, config.expert_capacity, config.router_dtype);
      }
    }
  }

  /// Keeps that layer's activations from now on, or (nothing) computes all layers and keeps none.
  void watch(std::optional<model::MoeLayer> layer) {
    watched_ = layer;
    hidden_.clear();
    activations_ = {};
  }

  [[nodiscard]] LayerActivations take(std::size_t width) {
    const std::size_t tokens = activations_.expert.size();
    activations_.hidden.resize(tokens, width);
    std::copy(hidden_.begin(), hidden_.end(), activations_.hidden.data());
    hidden_ = {};
    return std::exchange(activations_, {});
  }

  void begin_batch(std::size_t) override {}
  void reorder(std::span<const std::uint32_t>) override {}
  void feed(std::span<const std::int32_t>) override {}
  void approach(model::MoeLayer, MatrixView<const float>) override {}
  void begin_statistics() override {}
  [[nodiscard]] model::MoeStatistics statistics() const override { return {}; }
  [[nodiscard]] std::string describe() const override { return "calibration"; }

  void route(const model::MoeInput& input, std::span<model::RoutingDecision> decisions) override {
    routers_of(input.layer.stack)[input.layer.index].route(input, decisions);
  }

  void compute(const model::MoeInput& input, std::span<const model::RoutingDecision> decisions,
               MatrixView<float> output) override {
    for (std::size_t t = 0; t < output.rows(); ++t) std::ranges::fill(output.row(t), 0.0F);
    if (watched_ == input.layer) {
      for (std::size_t t = 0; t < decisions.size(); ++t) {
        const auto row = input.hidden.row(t);
        hidden_.insert(hidden_.end(), row.begin(), row.end());
        activations_.expert.push_back(decisions[t].expert);
        activations_.dropped.push_back(decisions[t].dropped ? 1 : 0);
      }
    }
    if (watched_ && !comes_before(input.layer, *watched_)) return;
    const std::vector<model::FeedForwardWeights>& experts = experts_.layer(input.layer);
    for (std::size_t expert = 0; expert < experts.size(); ++expert) {
      std::vector<std::size_t> tokens;
      for (std::size_t t = 0; t < decisions.size(); ++t) {
        if (decisions[t].expert == expert && !decisions[t].dropped) tokens.push_back(t);
      }
      if (tokens.empty()) continue;
      const Matrix<float> result = run_expert(experts[expert], activation_, gather_rows(input.hidden, tokens));
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        const std::size_t t = tokens[i];
        std::ranges::transform(result.row(i), output.row(t).begin(),
                               [&](float value) { return decisions[t].probability * value; });
      }
    }
  }

 private:
  std::vector<model::Router>& routers_of(model::Stack stack) { return routers_[static_cast<std::size_t>(stack)]; }

  const model::ExpertWeights& experts_;
  model::Activation activation_;
  std::vector<model::Router> routers_[2];
  std::optional<model::MoeLayer> watched_;
  std::vector<float> hidden_;
  LayerActivations activations_;
};

void check_ids(std::span<const std::int32_t> ids, const model::SwitchConfig& config) {
  for (const std::int32_t id : ids) {
    if (id < 0 || static_cast<std::uint32_t>(id) >= config.vocab_size) {
      throw UsageError(fmt::format("calibration: token {} is not in the vocabulary of {}", id, config.vocab_size));
    }
  }
}

}  // namespace

struct Calibration::Implementation {
  Implementation(const model::SwitchConfig& config_, std::shared_ptr<const io::Checkpoint> checkpoint)
      : config(config_),
        dense(model::load_dense_weights(checkpoint, config)),
        experts(model::load_expert_weights(checkpoint, config)),
        device(config, dense, experts) {}

  void prepare_examples(std::span<const CalibrationExample> examples);
  void encode_all();

  const model::SwitchConfig& config;
  model::DenseWeights dense;
  model::ExpertWeights experts;
  CapturingDevice device;
  std::vector<std::vector<std::int32_t>> inputs;          // [examples]
  std::vector<std::vector<std::int32_t>> decoder_inputs;  // [examples]: start token, then the target without its end
  std::vector<Matrix<float>> encoded;                     // [batches]: encoder outputs
  std::vector<model::Sequences> encoded_sequences;
};

void Calibration::Implementation::prepare_examples(std::span<const CalibrationExample> examples) {
  const std::int32_t start = config.decoder_start_token_id.value_or(config.pad_token_id.value_or(0));
  model::Generator generator(config, dense, device);
  model::GenerationOptions options;
  options.max_new_tokens = kGeneratedTokens;
  options.decoder_start_token_id = start;
  options.eos_token_ids = config.eos_token_ids;
  for (const CalibrationExample& example : examples) {
    throw_if_interrupted();
    if (example.input.empty()) throw UsageError("calibration: an example without a token");
    check_ids(example.input, config);
    std::vector<std::int32_t> target = example.target;
    if (target.empty()) target = generator.generate({&example.input, 1}, options).front().sequences.front().tokens;
    check_ids(target, config);
    target.insert(target.begin(), start);
    target.pop_back();
    inputs.push_back(example.input);
    decoder_inputs.push_back(std::move(target));
  }
}

void Calibration::Implementation::encode_all() {
  device.watch(std::nullopt);
  for (std::size_t first = 0; first < inputs.size(); first += kBatch) {
    throw_if_interrupted();
    const auto batch = std::span(inputs).subspan(first, std::min(kBatch, inputs.size() - first));
    model::Encoder encoder(config, dense, device);
    const MatrixView<const float> output = encoder.encode(batch);
    Matrix<float> copy(output.rows(), output.columns());
    for (std::size_t t = 0; t < output.rows(); ++t) std::ranges::copy(output.row(t), copy.row(t).begin());
    encoded.push_back(std::move(copy));
    encoded_sequences.push_back(encoder.sequences());
  }
}

Calibration::Calibration(const model::SwitchConfig& config, std::shared_ptr<const io::Checkpoint> checkpoint,
                         std::span<const CalibrationExample> examples)
    : implementation_(std::make_unique<Implementation>(config, std::move(checkpoint))) {
  implementation_->prepare_examples(examples);
}

Calibration::~Calibration() = default;

model::Activation Calibration::activation() const { return implementation_->dense.activation; }

LayerActivations Calibration::capture(model::MoeLayer layer) {
  Implementation& run = *implementation_;
  if (layer.stack == model::Stack::kDecoder && run.encoded.empty()) run.encode_all();
  run.device.watch(layer);
  for (std::size_t first = 0, batch = 0; first < run.inputs.size(); first += kBatch, ++batch) {
    throw_if_interrupted();
    const std::size_t count = std::min(kBatch, run.inputs.size() - first);
    if (layer.stack == model::Stack::kEncoder) {
      assert(run.encoded.empty());
      model::Encoder encoder(run.config, run.dense, run.device);
      static_cast<void>(encoder.encode(std::span(run.inputs).subspan(first, count)));
    } else {
      const auto tokens = std::span(run.decoder_inputs).subspan(first, count);
      std::size_t longest = 0;
      for (const auto& sequence : tokens) longest = std::max(longest, sequence.size());
      model::Decoder decoder(run.config, run.dense, run.device);
      decoder.begin(run.encoded_sequences[batch], run.encoded[batch], longest);
      decoder.extend(tokens, {});
    }
  }
  return run.device.take(run.config.d_model);
}

}  // namespace flame::sparsity
