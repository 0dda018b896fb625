#pragma once

#include <span>

#include "flame/routing/fitted.h"

namespace flame::routing {

/// probability[e] = softmax over the experts of the map's logits for the hidden state `x` ([d_model]), which the caller
/// has divided by its root mean square where map.normalise asks for it. For fitting, whose maps change at every step;
/// decoding has StateMap.
void apply(const LinearMap& map, std::span<const float> x, std::span<float> probability);

}  // namespace flame::routing
