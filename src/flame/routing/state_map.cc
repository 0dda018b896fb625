#include "flame/routing/state_map.h"

#include <cassert>

#include "flame/kernels/linear.h"
#include "flame/kernels/vector_ops.h"

namespace flame::routing {

StateMap::StateMap(const LinearMap& map) : normalise_(map.normalise), weight_(map.weight.size()), bias_(map.bias) {
  const std::size_t experts = bias_.size();
  const std::size_t d_model = weight_.size() / experts;
  for (std::size_t expert = 0; expert < experts; ++expert) {
    for (std::size_t i = 0; i < d_model; ++i) weight_[expert * d_model + i] = map.weight[i * experts + expert];
  }
}

void StateMap::apply(std::span<const float> x, float scale, std::span<float> probability) const {
  assert(probability.size() == bias_.size() && x.size() * bias_.size() == weight_.size());
  const kernels::WeightMatrix weight{DataType::kF32, std::as_bytes(std::span(weight_)).data(), bias_.size(), x.size()};
  kernels::linear(weight, {x.data(), 1, x.size()}, {probability.data(), 1, probability.size()});
  if (normalise_) kernels::scale(scale, probability);
  kernels::add(bias_, probability);
  kernels::softmax(probability);
}

}  // namespace flame::routing
