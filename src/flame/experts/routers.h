#pragma once

#include <vector>

#include "flame/model/config.h"
#include "flame/model/router.h"
#include "flame/model/weights.h"

namespace flame::experts {

/// The routers of all MoE layers, the encoder's first. They look at `dense`, which must outlive them.
[[nodiscard]] std::vector<model::Router> routers_of(const model::SwitchConfig& config,
                                                    const model::DenseWeights& dense);

}  // namespace flame::experts
