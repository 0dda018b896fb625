#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace flame::routing {

/// Layers ahead that is fitted for at most.
inline constexpr std::uint32_t kFittedDepth = 6;

/// An affine map from a hidden state to the logits of one layer's experts:
/// logits[e] = bias[e] + sum_i weight[i][e] * x[i] / s, where s is rms(x) if `normalise`, else 1.
struct LinearMap {
  std::uint32_t layer = 0;  ///< the layer whose experts it ranks
  std::uint32_t depth = 0;  ///< layers from the one the hidden state is of
  bool normalise = false;
  std::vector<float> weight;  ///< [d_model, E]
  std::vector<float> bias;    ///< [E]
};

/// Log-linear weights of one layer at one depth: log P(e) = sum_i weight[i] * log P_i(e) + constant.
struct MixWeights {
  std::uint32_t layer = 0;
  std::uint32_t depth = 1;
  std::vector<float> weight;  ///< one a part
};

/// A log-linear mixture of other predictors.
struct Mixture {
  std::string name;                ///< "mix" or "mix-hidden"
  std::uint32_t context = 0;       ///< the order m its parts were built with
  std::vector<std::string> parts;  ///< names of predictors
  std::vector<MixWeights> weights;
};

/// What is learned from traces beyond counting. Empty vectors: not fitted.
struct Fitted {
  std::vector<LinearMap> router;    ///< next-router: each layer's own router, to be applied to an earlier layer's input
  std::vector<LinearMap> maps;      ///< lookahead: regressed from the routers' inputs; depth 1, 2, …
  std::vector<LinearMap> approach;  ///< pre-attention: regressed from the blocks' inputs; depth 0, 1, …
  std::vector<Mixture> mixtures;    ///< fitted on held-out examples
};

}  // namespace flame::routing
