#pragma once

#include <span>
#include <string>
#include <vector>

#include "flame/kernels/linear.h"
#include "flame/kernels/vector_ops.h"
#include "flame/model/config.h"
#include "flame/model/moe_device.h"
#include "flame/model/router.h"
#include "flame/model/weights.h"

namespace flame::test {

/// A MoeDevice by the definition, one token at a time, that writes down what it was asked: the model's tests do not
/// reach up to the experts' folder.
class PlainDevice final : public model::MoeDevice {
 public:
  struct Pass {
    model::MoeLayer layer;
    std::vector<std::uint32_t> sequence;
    std::vector<model::RoutingDecision> decisions;
  };

  PlainDevice(const model::SwitchConfig& config, const model::DenseWeights& dense, model::ExpertWeights experts)
      : config_(config), dense_(dense), experts_(std::move(experts)) {}

  void begin_batch(std::size_t sequences) override {
    log_.clear();
    calls_.clear();
    calls_.push_back("begin_batch " + std::to_string(sequences));
  }
  void reorder(std::span<const std::uint32_t> parents) override {
    std::string call = "reorder";
    for (const std::uint32_t parent : parents) call.append(" ").append(std::to_string(parent));
    calls_.push_back(call);
  }
  void feed(std::span<const std::int32_t> tokens) override {
    std::string call = "feed";
    for (const std::int32_t token : tokens) call.append(" ").append(std::to_string(token));
    calls_.push_back(call);
  }
  void approach(model::MoeLayer /*layer*/, MatrixView<const float> /*hidden*/) override { ++approaches_; }

  void route(const model::MoeInput& input, std::span<model::RoutingDecision> decisions) override {
    const model::StackWeights& stack = input.layer.stack == model::Stack::kEncoder ? dense_.encoder : dense_.decoder;
    const model::RouterWeights& weights = *stack.blocks[config_.block_of(input.layer)].router;
    model::Router(weights, config_.expert_capacity, config_.router_dtype).route(input, decisions);
    log_.push_back({input.layer, {input.sequence.begin(), input.sequence.end()}, {decisions.begin(), decisions.end()}});
  }

  void compute(const model::MoeInput& input, std::span<const model::RoutingDecision> decisions,
               MatrixView<float> output) override {
    Matrix<float> inner(1, config_.d_ff);
    Matrix<float> gate(1, config_.d_ff);
    for (std::size_t token = 0; token < decisions.size(); ++token) {
      const auto out = output.rows_from(token, 1);
      std::ranges::fill(out.row(0), 0.0F);
      if (decisions[token].dropped) continue;
      const model::FeedForwardWeights& expert = experts_.layer(input.layer)[decisions[token].expert];
      kernels::linear(expert.wi, input.hidden.rows_from(token, 1), inner);
      kernels::activate(dense_.activation, inner.row(0));
      if (expert.gated()) {
        kernels::linear(expert.gate, input.hidden.rows_from(token, 1), gate);
        kernels::multiply(gate.row(0), inner.row(0));
      }
      kernels::linear(expert.wo, inner, out);
      kernels::scale(decisions[token].probability, out.row(0));
    }
  }

  void begin_statistics() override {}
  [[nodiscard]] model::MoeStatistics statistics() const override { return {}; }
  [[nodiscard]] std::string describe() const override { return "plain"; }

  /// Every route() since begin_batch().
  [[nodiscard]] const std::vector<Pass>& log() const { return log_; }
  /// begin_batch, reorder and feed as text, since and with begin_batch().
  [[nodiscard]] const std::vector<std::string>& calls() const { return calls_; }
  [[nodiscard]] std::size_t approaches() const { return approaches_; }

 private:
  const model::SwitchConfig& config_;
  const model::DenseWeights& dense_;
  model::ExpertWeights experts_;
  std::vector<Pass> log_;
  std::vector<std::string> calls_;
  std::size_t approaches_ = 0;
};

}  // namespace flame::test
