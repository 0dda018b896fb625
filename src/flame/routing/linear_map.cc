#include "flame/routing/linear_map.h"

#include <algorithm>
#include <cmath>

namespace flame::routing {
namespace {

/// The products of `x` and kLanes columns of the map, from `weight` on. Sums stay in registers, several at once, so
/// that none waits for the addition before it.
constexpr std::size_t kLanes = 8;
constexpr std::size_t kSums = 4;
void multiply(const float* weight, std::size_t experts, std::span<const float> x, float* out) {
  float sums[kSums][kLanes] = {};
  std::size_t i = 0;
  for (; i + kSums <= x.size(); i += kSums) {
    for (std::size_t s = 0; s < kSums; ++s) {
      const float* const row = weight + (i + s) * experts;
      for (std::size_t lane = 0; lane < kLanes; ++lane) sums[s][lane] += x[i + s] * row[lane];
    }
  }
  for (; i < x.size(); ++i) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) sums[0][lane] += x[i] * weight[i * experts + lane];
  }
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    out[lane] = (sums[0][lane] + sums[1][lane]) + (sums[2][lane] + sums[3][lane]);
  }
}

}  // namespace

void apply(const LinearMap& map, std::span<const float> x, std::span<float> probability) {
  const std::size_t experts = probability.size();
  std::fill(probability.begin(), probability.end(), 0.0F);
  std::size_t first = 0;
  for (; first + kLanes <= experts; first += kLanes) {
    multiply(map.weight.data() + first, experts, x, probability.data() + first);
  }
  for (std::size_t i = 0; first < experts && i < x.size(); ++i) {
    const float* const row = map.weight.data() + i * experts;
    for (std::size_t expert = first; expert < experts; ++expert) probability[expert] += x[i] * row[expert];
  }
  float highest = -INFINITY;
  for (std::size_t expert = 0; expert < experts; ++expert) {
    probability[expert] += map.bias[expert];
    highest = std::max(highest, probability[expert]);
  }
  float sum = 0.0F;
  for (float& value : probability) sum += value = std::exp(value - highest);
  for (float& value : probability) value /= sum;
}

}  // namespace flame::routing
