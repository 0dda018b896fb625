#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

// The arithmetic of an int8 expert, in plain scalar form. This is the one definition that the CPU's int8 path, the
// golden model of the accelerator and the RTL share: all three give the same bits.
//
//   x (fp32, d_model)                                   -- the token, after the layer's norm
//   q_x = quantise_activations(x, s_x)                  int8, s_x = max|x| / 127
//   a_r = sum_k wi[r][k] * q_x[k]                       int32, r = 0 .. d_ff-1
//   h_r = hidden_value(a_r, multiplier_r)               ReLU and row scale, fixed point, 0 .. 2^31
//   q_h = requantise(h_r, hidden_scale(max_r h_r))      int8, 0 .. 127, one scale per token
//   b_o = sum_r wo[o][r] * q_h[r]                       int32, o = 0 .. d_model-1
//   y_o = float(b_o) * (scale_wo[o] * output_unit)      fp32
//
// Weights are symmetric int8 with one fp32 scale per output row. Inside wi the row scales become 16-bit multipliers
// relative to the largest of them, so that the device needs integers only. The per-token maximum of the hidden vector
// is exact: the vector is kept at full width until the last row is known, and is brought to int8 while wo reads it.
namespace flame::kernels {

// Largest magnitude of a symmetric int8 code; -128 is never used.
inline constexpr int kInt8Limit = 127;
// A multiplier of 1.0: the row with the largest scale of wi.
inline constexpr std::uint32_t kUnitMultiplier = 1U << 15;

// Quantises `x` to symmetric int8 (round half to even) and returns the scale s with x ~ q * s. A vector of zeros gives
// scale 0 and codes 0. `codes` has the length of `x`; every x must be finite. Used for activations (per token) and for
// weights (per output row).
inline float quantise_symmetric(std::span<const float> x, std::span<std::int8_t> codes) {
  float largest = 0.0F;
  for (const float value : x) largest = std::max(largest, std::fabs(value));
  if (largest == 0.0F) {
    std::fill(codes.begin(), codes.end(), std::int8_t{0});
    return 0.0F;
  }
  const float inverse = static_cast<float>(kInt8Limit) / largest;
  // The reciprocal of a denormal overflows; such a vector is divided element by element.
  const bool by_division = !std::isfinite(inverse);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float scaled = by_division ? x[i] / largest * static_cast<float>(kInt8Limit) : x[i] * inverse;
    const float rounded = std::nearbyint(scaled);
    codes[i] = static_cast<std::int8_t>(std::clamp(rounded, -127.0F, 127.0F));
  }
  return largest / static_cast<float>(kInt8Limit);
}

// Row scales of wi as the device holds them: scale[r] ~ unit * multiplier[r] / 2^15, multiplier 0 .. 2^15.
struct InputRowScaling {
  float unit = 0.0F;
  std::vector<std::uint16_t> multiplier;  // [d_ff]
};

// Converts the fp32 row scales of wi (all finite and >= 0). Result: unit is the largest of them.
inline InputRowScaling input_row_scaling(std::span<const float> row_scales) {
  InputRowScaling result;
  result.multiplier.resize(row_scales.size());
  for (const float scale : row_scales) result.unit = std::max(result.unit, scale);
  if (result.unit == 0.0F) return result;
  for (std::size_t r = 0; r < row_scales.size(); ++r) {
    const double ratio = static_cast<double>(row_scales[r]) / static_cast<double>(result.unit);
    result.multiplier[r] = static_cast<std::uint16_t>(std::nearbyint(ratio * kUnitMultiplier));
  }
  return result;
}

// ReLU and row scale of one hidden element: round-half-up of max(accumulator, 0) * multiplier / 2^15. At most 2^31.
inline std::uint32_t hidden_value(std::int32_t accumulator, std::uint16_t multiplier) {
  const auto positive = static_cast<std::uint64_t>(std::max(accumulator, std::int32_t{0}));
  return static_cast<std::uint32_t>((positive * multiplier + (kUnitMultiplier >> 1)) >> 15);
}

// How a token's hidden vector becomes int8: shift so that the maximum has 16 significant bits, times the reciprocal.
struct HiddenScale {
  int bits = 0;                  // significant bits of the maximum, 0 for an all-zero vector
  std::uint32_t reciprocal = 0;  // floor(127 * 2^24 / normalised maximum), below 2^16
};

// `value` moved so that a number of `bits` significant bits gets exactly 16; low bits are cut.
inline std::uint32_t normalise_to_16_bits(std::uint32_t value, int bits) {
  return bits >= 16 ? value >> (bits - 16) : value << (16 - bits);
}

// The scale for a hidden vector whose largest element is `maximum`.
inline HiddenScale hidden_scale(std::uint32_t maximum) {
  if (maximum == 0) return {};
  const int bits = static_cast<int>(std::bit_width(maximum));
  return {bits, (static_cast<std::uint32_t>(kInt8Limit) << 24) / normalise_to_16_bits(maximum, bits)};
}

// int8 code of a hidden element, 0 .. 127: the maximum maps to at most 127, rounding is half up.
inline std::int8_t requantise(std::uint32_t value, HiddenScale scale) {
  if (scale.bits == 0) return 0;
  const std::uint64_t product = static_cast<std::uint64_t>(normalise_to_16_bits(value, scale.bits)) * scale.reciprocal;
  return static_cast<std::int8_t>((product + (1U << 23)) >> 24);
}

// The factor common to a token's outputs: y[o] = float(accumulator[o]) * (wo_scale[o] * output_unit).
inline float output_unit(float activation_scale, float input_unit, std::uint32_t hidden_maximum) {
  return activation_scale * input_unit * static_cast<float>(hidden_maximum) / static_cast<float>(kInt8Limit);
}

// One output element from its accumulator.
inline float output_value(std::int32_t accumulator, float wo_row_scale, float unit) {
  return static_cast<float>(accumulator) * (wo_row_scale * unit);
}

// Views of one int8 expert, unpacked: pruned weights are zeros. Row-major, owned by the caller.
struct Int8ExpertView {
  std::size_t d_model = 0;
  std::size_t d_ff = 0;
  std::span<const std::int8_t> wi;            // [d_ff][d_model]
  std::span<const std::int8_t> wo;            // [d_model][d_ff]
  std::span<const std::uint16_t> multiplier;  // [d_ff], input_row_scaling
  float input_unit = 0.0F;
  std::span<const float> wo_scales;  // [d_model]
};

// What the integer part of an expert leaves behind for the last scaling.
struct Int8ExpertResult {
  std::vector<std::int32_t> accumulators;  // [d_model]
  std::uint32_t hidden_maximum = 0;
};

// The integer part of one token through one expert (plain loops; the reference for every faster form).
inline Int8ExpertResult int8_expert_reference(const Int8ExpertView& expert, std::span<const std::int8_t> codes) {
  std::vector<std::uint32_t> hidden(expert.d_ff);
  Int8ExpertResult result;
  for (std::size_t r = 0; r < expert.d_ff; ++r) {
    std::int32_t sum = 0;
    for (std::size_t k = 0; k < expert.d_model; ++k) sum += expert.wi[r * expert.d_model + k] * codes[k];
    hidden[r] = hidden_value(sum, expert.multiplier[r]);
    result.hidden_maximum = std::max(result.hidden_maximum, hidden[r]);
  }
  const HiddenScale scale = hidden_scale(result.hidden_maximum);
  std::vector<std::int8_t> hidden_codes(expert.d_ff);
  for (std::size_t r = 0; r < expert.d_ff; ++r) hidden_codes[r] = requantise(hidden[r], scale);
  result.accumulators.assign(expert.d_model, 0);
  for (std::size_t o = 0; o < expert.d_model; ++o) {
    std::int32_t sum = 0;
    for (std::size_t r = 0; r < expert.d_ff; ++r) sum += expert.wo[o * expert.d_ff + r] * hidden_codes[r];
    result.accumulators[o] = sum;
  }
  return result;
}

}  // namespace flame::kernels
