#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "flame/base/matrix_view.h"
#include "flame/model/config.h"
#include "flame/model/moe_device.h"
#include "flame/model/sequences.h"
#include "flame/model/weights.h"

namespace flame::model {

/// Scratch of the feed-forward sublayers, kept from call to call.
struct FeedForwardScratch {
  Matrix<float> normed;  // [tokens, d_model]
  Matrix<float> output;  // [tokens, d_model]
  Matrix<float> inner;   // [at most kLargestGroup, d_ff]
  Matrix<float> gate;    // likewise, in a gated network
  std::vector<RoutingDecision> decisions;
};

/// hidden += wo · activation(wi · norm(hidden)), by groups (a dense block's last sublayer).
void dense_feed_forward(const SwitchConfig& config, const BlockWeights& block, Activation activation,
                        const Sequences& sequences, MatrixView<float> hidden, FeedForwardScratch& scratch);

/// hidden += the device's experts applied to norm(hidden) (a sparse block's last sublayer).
void moe_feed_forward(const SwitchConfig& config, const BlockWeights& block, MoeLayer layer, MoeDevice& device,
                      const Sequences& sequences, MatrixView<float> hidden, FeedForwardScratch& scratch);

}  // namespace flame::model
