#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "flame/accel/expert_layout.h"

namespace flame::accel::test {

/// A random int8 expert that obeys an N:M pattern, and a random token for it.
struct RandomExpert {
  std::size_t d_model, d_ff;
  std::vector<std::int8_t> wi, wo, token;
  std::vector<std::uint16_t> multiplier;

  RandomExpert(std::size_t model, std::size_t ff, DevicePattern pattern, std::mt19937& random)
      : d_model(model), d_ff(ff), wi(weights(ff, model, pattern, random)), wo(weights(model, ff, pattern, random)) {
    std::uniform_int_distribution<int> code(-127, 127);
    std::uniform_int_distribution<int> scale(0, 1 << 15);
    for (std::size_t r = 0; r < ff; ++r) multiplier.push_back(static_cast<std::uint16_t>(scale(random)));
    for (std::size_t k = 0; k < model; ++k) token.push_back(static_cast<std::int8_t>(code(random)));
  }

  [[nodiscard]] kernels::Int8ExpertView view() const { return {d_model, d_ff, wi, wo, multiplier, 1.0F, {}}; }
  [[nodiscard]] kernels::Int8ExpertResult reference() const { return kernels::int8_expert_reference(view(), token); }

  static std::vector<std::int8_t> weights(std::size_t rows, std::size_t columns, DevicePattern pattern,
                                          std::mt19937& random) {
    std::vector<std::int8_t> result(rows * columns);
    std::uniform_int_distribution<int> code(-127, 127);
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t group = 0; group < columns; group += pattern.m()) {
        std::vector<std::size_t> places(std::min<std::size_t>(pattern.m(), columns - group));
        std::iota(places.begin(), places.end(), group);
        std::shuffle(places.begin(), places.end(), random);
        places.resize(std::min<std::size_t>(places.size(), pattern.n()));
        for (const std::size_t column : places) result[row * columns + column] = static_cast<std::int8_t>(code(random));
      }
    }
    return result;
  }
};

}  // namespace flame::accel::test
