#pragma once

#include <cstdint>
#include <span>

#include "flame/kernels/int8_expert.h"

namespace flame::kernels {

// The arithmetic of kernels/int8_expert.h over whole vectors, bit for bit the same on every instruction set.

/// quantise_symmetric().
float quantise_symmetric_fast(std::span<const float> x, std::span<std::int8_t> codes);

/// input_row_scaling(): writes the multipliers and returns the unit.
float row_multipliers(std::span<const float> row_scales, std::span<std::uint16_t> multipliers);

/// hidden[r] = hidden_value(sums[r], multipliers[r]); returns the largest.
std::uint32_t hidden_values(std::span<const std::int32_t> sums, std::span<const std::uint16_t> multipliers,
                            std::span<std::uint32_t> hidden);

/// codes[r] = requantise(hidden[r], scale).
void requantise_all(std::span<const std::uint32_t> hidden, HiddenScale scale, std::span<std::int8_t> codes);

}  // namespace flame::kernels
