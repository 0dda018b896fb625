#include "flame/routing/linear_map.h"

#include <algorithm>
#include <cmath>

namespace flame::routing {
namespace {

void apply(const LinearMap& map, std::span<const float> x, float scale, std::span<float> probability) {
  const std::size_t experts = probability.size();
  std::fill(probability.begin(), probability.end(), 0.0F);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float* const row = map.weight.data() + i * experts;
    for (std::size_t expert = 0; expert < experts; ++expert) probability[expert] += x[i] * row[expert];
  }
  float highest = -INFINITY;
  for (std::size_t expert = 0; expert < experts; ++expert) {
    probability[expert] = probability[expert] * scale + map.bias[expert];
    highest = std::max(highest, probability[expert]);
  }
  float sum = 0.0F;
  for (float& value : probability) sum += value = std::exp(value - highest);
  for (float& value : probability) value /= sum;
}

}  // namespace

void apply_map(const LinearMap& map, std::span<const float> x, std::span<float> probability) {
  float scale = 1.0F;
  if (map.normalise) {
    float square = 0.0F;
    for (const float value : x) square += value * value;
    scale = 1.0F / std::sqrt(square / static_cast<float>(x.size()) + 1e-12F);
  }
  apply(map, x, scale, probability);
}

void apply_to_normalised(const LinearMap& map, std::span<const float> x, std::span<float> probability) {
  apply(map, x, 1.0F, probability);
}

}  // namespace flame::routing
