#pragma once

#include <cstdint>

#include "flame/model/config.h"
#include "flame/model/tensor_names.h"

namespace flame::model {

/// Parameters of a model by part. Embeddings and head are counted once when they share their bytes.
struct ParameterCount {
  std::uint64_t embeddings = 0;  ///< token embeddings and output head
  std::uint64_t attention = 0;   ///< projections of self- and cross-attention, with the position bias tables
  std::uint64_t dense_feed_forward = 0;
  std::uint64_t experts = 0;
  std::uint64_t routers = 0;
  std::uint64_t norms = 0;

  [[nodiscard]] std::uint64_t total() const;
  /// Experts over everything, between 0 and 1.
  [[nodiscard]] double expert_share() const;
  /// Experts over everything but the embeddings: Figure 4a of the FLAME paper.
  [[nodiscard]] double expert_share_without_embeddings() const;
};

/// Counts from the configuration alone. Untied, the encoder's embedding, the decoder's and the head are counted each.
[[nodiscard]] ParameterCount count_parameters(const SwitchConfig& config, Gating gating = Gating::kPlain);

/// Weights of one expert.
[[nodiscard]] std::uint64_t expert_parameters(const SwitchConfig& config, Gating gating = Gating::kPlain);

/// Experts of the whole model: MoE layers of both stacks times num_experts.
[[nodiscard]] std::uint64_t expert_count(const SwitchConfig& config);

}  // namespace flame::model
