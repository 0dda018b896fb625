#include "flame/model/router.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "flame/kernels/vector_ops.h"

namespace flame::model {
namespace {

// The value as it would come out of a tensor of that type.
float rounded(float value, DataType type) {
  switch (type) {
    case DataType::kBF16:
      return BFloat16::from_float(value).to_float();
    case DataType::kF16:
      return Float16::from_float(value).to_float();
    default:
      return value;
  }
}

void round_all(std::span<float> values, DataType type) {
  if (type == DataType::kF32) return;
  for (float& value : values) value = rounded(value, type);
}

}  // namespace

RoutingDecision choose_expert(std::span<float> logits_to_probabilities, DataType precision) {
  kernels::softmax(logits_to_probabilities);
  round_all(logits_to_probabilities, precision);
  const std::size_t expert = kernels::argmax(logits_to_probabilities);
  return {
      .expert = static_cast<std::uint16_t>(expert), .dropped = false, .probability = logits_to_probabilities[expert]};
}

Router::Router(const RouterWeights& weights, std::size_t expert_capacity, DataType precision)
    : weights_(&weights),
      expert_capacity_(expert_capacity),
      precision_(precision),
      logits_(weights.classifier.rows()),
      taken_(weights.classifier.rows()) {
  assert(weights.bias.empty() || weights.bias.size() == weights.classifier.rows());
  if (precision == DataType::kF32) return;
  // transformers casts the whole layer to router_dtype.
  rounded_ = weights;
  for (std::size_t r = 0; r < rounded_.classifier.rows(); ++r) round_all(rounded_.classifier.row(r), precision);
  round_all(rounded_.bias, precision);
  rounded_hidden_.resize(weights.classifier.columns());
}

void Router::route(const MoeInput& input, std::span<RoutingDecision> decisions, MatrixView<float> probabilities) {
  assert(decisions.size() == input.hidden.rows() && input.sequence.size() == input.hidden.rows());
  const RouterWeights& weights = precision_ == DataType::kF32 ? *weights_ : rounded_;
  for (std::size_t token = 0; token < decisions.size(); ++token) {
    std::span<const float> hidden = input.hidden.row(token);
    if (precision_ != DataType::kF32) {
      std::copy(hidden.begin(), hidden.end(), rounded_hidden_.begin());
      round_all(rounded_hidden_, precision_);
      hidden = rounded_hidden_;
    }
    for (std::size_t expert = 0; expert < logits_.size(); ++expert) {
      const float bias = weights.bias.empty() ? 0.0F : weights.bias[expert];
      logits_[expert] = kernels::dot(weights.classifier.row(expert), hidden) + bias;
    }
    round_all(logits_, precision_);
    RoutingDecision& decision = decisions[token];
    decision = choose_expert(logits_, precision_);
    if (token == 0 || input.sequence[token] != input.sequence[token - 1]) std::ranges::fill(taken_, 0);
    decision.dropped = ++taken_[decision.expert] > expert_capacity_;
    if (!probabilities.empty()) std::ranges::copy(logits_, probabilities.row(token).begin());
  }
}

}  // namespace flame::model
