#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "flame/model/config.h"
#include "flame/model/moe_device.h"
#include "flame/model/weights.h"

namespace flame::eval {

/// How surprised a model is by given outputs.
struct TokenLoss {
  double negative_log_likelihood = 0.0;  ///< natural logarithm, summed over tokens
  std::uint64_t tokens = 0;

  /// exp of the mean; 1 when there are no tokens.
  [[nodiscard]] double perplexity() const;
};

/// Runs the encoder once over `input` and the decoder over each of `targets` by teacher forcing: every token of a
/// target (its end token included) is scored given the true ones before it. Nothing of it may be empty, ids are in the
/// vocabulary. As in transformers, an expert's capacity counts over the whole target. Returns the sum over the targets.
[[nodiscard]] TokenLoss token_loss(const model::SwitchConfig& config, const model::DenseWeights& weights,
                                   model::MoeDevice& device, std::span<const std::int32_t> input,
                                   std::span<const std::vector<std::int32_t>> targets);

}  // namespace flame::eval
