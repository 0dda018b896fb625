#pragma once

#include <span>

#include "flame/routing/fitted.h"

namespace flame::routing {

/// probability[e] = softmax over the experts of the map's logits for the hidden state `x` ([d_model]), which has been
/// divided by its root mean square already, or needs not be.
void apply_to_normalised(const LinearMap& map, std::span<const float> x, std::span<float> probability);

}  // namespace flame::routing
