#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "flame/routing/fitted.h"

namespace flame::routing {

/// A LinearMap laid out for decoding: its weights in one run, as the matrix-vector kernel reads them. They come from
/// memory each time, a token's weights having been through the caches since.
class StateMap {
 public:
  StateMap() = default;
  explicit StateMap(const LinearMap& map);

  [[nodiscard]] bool empty() const { return bias_.empty(); }

  /// probability[e] = softmax over the experts of the map's logits for the state `x` ([d_model]), where `scale` is
  /// 1 / rms(x).
  void apply(std::span<const float> x, float scale, std::span<float> probability) const;

 private:
  bool normalise_ = false;
  std::vector<float> weight_;  ///< [E, d_model]
  std::vector<float> bias_;    ///< [E]
};

}  // namespace flame::routing
