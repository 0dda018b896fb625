#include "flame/experts/resident_device.h"

#include <algorithm>
#include <utility>

#include "flame/kernels/expert.h"
#include "flame/model/sequences.h"

namespace flame::experts {
namespace {

kernels::ExpertParts parts_of(const model::FeedForwardWeights& weights, model::Activation activation) {
  kernels::ExpertParts parts{.wi = weights.wi, .gate = std::nullopt, .wo = weights.wo, .activation = activation};
  if (weights.gated()) parts.gate = weights.gate;
  return parts;
}

}  // namespace

struct ResidentDevice::Implementation {
  const model::SwitchConfig& config;
  const model::DenseWeights& dense;
  model::ExpertWeights experts;
  std::vector<model::Router> encoder_routers;
  std::vector<model::Router> decoder_routers;
  model::MoeStatistics statistics;

  // Tokens of the expert at work, gathered.
  std::vector<std::size_t> tokens;
  model::Sequences groups;
  Matrix<float> input;   // [tokens, d_model]
  Matrix<float> output;  // [tokens, d_model]
  std::vector<float> probabilities;
  kernels::ExpertRun run;

  void gather(const model::MoeInput& moe_input, std::span<const model::RoutingDecision> decisions, std::size_t expert);
};

// Collects the expert's tokens, and how to cut them so that no token's result depends on another sequence.
void ResidentDevice::Implementation::gather(const model::MoeInput& moe_input,
                                            std::span<const model::RoutingDecision> decisions, std::size_t expert) {
  tokens.clear();
  groups.clear();
  probabilities.clear();
  std::size_t in_sequence = 0;
  for (std::size_t token = 0; token < decisions.size(); ++token) {
    if (decisions[token].expert != expert || decisions[token].dropped) continue;
    if (!tokens.empty() && moe_input.sequence[tokens.back()] != moe_input.sequence[token]) {
      groups.append(in_sequence);
      in_sequence = 0;
    }
    ++in_sequence;
    tokens.push_back(token);
    probabilities.push_back(decisions[token].probability);
  }
  if (in_sequence > 0) groups.append(in_sequence);
  input.resize(tokens.size(), moe_input.hidden.columns());
  output.resize(tokens.size(), moe_input.hidden.columns());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    std::ranges::copy(moe_input.hidden.row(tokens[i]), input.row(i).begin());
  }
}

ResidentDevice::ResidentDevice(const model::SwitchConfig& config, const model::DenseWeights& dense,
                               model::ExpertWeights experts)
    : implementation_(new Implementation{.config = config,
                                         .dense = dense,
                                         .experts = std::move(experts),
                                         .encoder_routers = {},
                                         .decoder_routers = {},
                                         .statistics = {},
                                         .tokens = {},
                                         .groups = {},
                                         .input = {},
                                         .output = {},
                                         .probabilities = {},
                                         .run = {}}) {
  for (const model::Stack stack : {model::Stack::kEncoder, model::Stack::kDecoder}) {
    const bool encoder = stack == model::Stack::kEncoder;
    auto& routers = encoder ? implementation_->encoder_routers : implementation_->decoder_routers;
    for (const model::BlockWeights& block : (encoder ? dense.encoder : dense.decoder).blocks) {
      if (block.router) routers.emplace_back(*block.router, config.expert_capacity, config.router_dtype);
    }
  }
}

ResidentDevice::~ResidentDevice() = default;

void ResidentDevice::begin_batch(std::size_t /*sequences*/) {}
void ResidentDevice::reorder(std::span<const std::uint32_t> /*parents*/) {}
void ResidentDevice::feed(std::span<const std::int32_t> /*tokens*/) {}
void ResidentDevice::approach(model::MoeLayer /*layer*/, MatrixView<const float> /*hidden*/) {}

void ResidentDevice::route(const model::MoeInput& input, std::span<model::RoutingDecision> decisions) {
  auto& routers =
      input.layer.stack == model::Stack::kEncoder ? implementation_->encoder_routers : implementation_->decoder_routers;
  routers[input.layer.index].route(input, decisions);
}

void ResidentDevice::compute(const model::MoeInput& input, std::span<const model::RoutingDecision> decisions,
                             MatrixView<float> output) {
  Implementation& self = *implementation_;
  for (std::size_t token = 0; token < output.rows(); ++token) std::ranges::fill(output.row(token), 0.0F);
  const std::vector<model::FeedForwardWeights>& experts = self.experts.layer(input.layer);
  for (std::size_t expert = 0; expert < experts.size(); ++expert) {
    self.gather(input, decisions, expert);
    if (self.tokens.empty()) continue;
    ++self.statistics.hits;
    const kernels::ExpertParts parts = parts_of(experts[expert], self.dense.activation);
    model::for_each_group(self.groups, [&](std::size_t first, std::size_t count) {
      self.run.begin(parts, self.input.view().rows_from(first, count),
                     std::span<const float>(self.probabilities).subspan(first, count),
                     self.output.view().rows_from(first, count));
      self.run.finish();
    });
    for (std::size_t i = 0; i < self.tokens.size(); ++i) {
      std::ranges::copy(self.output.row(i), output.row(self.tokens[i]).begin());
    }
  }
}

void ResidentDevice::begin_statistics() { implementation_->statistics = {}; }
model::MoeStatistics ResidentDevice::statistics() const { return implementation_->statistics; }

std::string ResidentDevice::describe() const {
  return "cpu, experts resident (" + implementation_->experts.types + ")";
}

}  // namespace flame::experts
