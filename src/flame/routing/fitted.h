#pragma once

#include <cstdint>
#include <vector>

namespace flame::routing {

/// An affine map from a hidden state to the logits of one layer's experts:
/// logits[e] = bias[e] + sum_i weight[e][i] * x[i] / s, where s is rms(x) if `normalise`, else 1.
struct LinearMap {
  std::uint32_t layer = 0;  ///< the layer whose experts it ranks
  std::uint32_t depth = 0;  ///< layers from the one the hidden state is of; 0: the state before the block's attention
  bool normalise = false;
  std::vector<float> weight;  ///< [E, d_model]
  std::vector<float> bias;    ///< [E]
};

/// Log-linear weights of one layer at one depth: log P(e) = sum_i weight[i] * log P_i(e) + constant.
struct MixWeights {
  std::uint32_t layer = 0;
  std::uint32_t depth = 1;
  std::vector<float> weight;  ///< one a part, in the order of mix_parts()
};

/// What is learned from traces beyond counting. Empty vectors: not fitted.
struct Fitted {
  std::vector<LinearMap> router;    ///< lookahead: each layer's own router, to be applied to an earlier layer's state
  std::vector<LinearMap> maps;      ///< lookahead's better form, ridge-regressed; depth 1, 2, …
  std::vector<LinearMap> approach;  ///< pre-attention: ridge-regressed, depth 0
  std::vector<MixWeights> mix;      ///< fitted on held-out traces
  std::uint32_t mix_context = 0;    ///< the order m that the mixture was fitted with
};

}  // namespace flame::routing
