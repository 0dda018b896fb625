#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/base/data_type.h"
#include "flame/base/matrix_view.h"
#include "flame/model/moe_device.h"

namespace flame::model {

/// A router's linear layer, held in fp32 whatever the checkpoint stores.
struct RouterWeights {
  Matrix<float> classifier;  ///< [experts, d_model]
  std::vector<float> bias;   ///< [experts], or empty
};

/// The router of a Switch layer (Fedus et al. 2021, as transformers computes it): a linear layer and a softmax in the
/// router's precision, the expert of highest probability (the first of equal ones), and capacity counted per sequence,
/// in order, within the call. All devices on the CPU decide with it. Not thread-safe: it keeps scratch memory.
class Router {
 public:
  /// `weights` must outlive the router. `precision`: kF32, kBF16 or kF16 (config.router_dtype).
  Router(const RouterWeights& weights, std::size_t expert_capacity, DataType precision = DataType::kF32);

  /// decisions[t] for every token of `input`. If `probabilities` is not empty it is filled too: [tokens, experts].
  void route(const MoeInput& input, std::span<RoutingDecision> decisions, MatrixView<float> probabilities = {});

  [[nodiscard]] std::size_t experts() const { return weights_->classifier.rows(); }

 private:
  const RouterWeights* weights_;
  std::size_t expert_capacity_;
  DataType precision_;
  std::vector<float> logits_;          // [experts]
  RouterWeights rounded_;              // the weights in a precision other than fp32
  std::vector<float> rounded_hidden_;  // [d_model], likewise
  std::vector<std::size_t> taken_;     // [experts]: tokens of the current sequence so far
};

/// The part of route() after the linear layer, for devices that compute the logits themselves: softmax in place, then
/// the choice. Returns the decision without capacity (dropped is false).
[[nodiscard]] RoutingDecision choose_expert(std::span<float> logits_to_probabilities,
                                            DataType precision = DataType::kF32);

}  // namespace flame::model
