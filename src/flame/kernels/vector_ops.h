#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "flame/base/data_type.h"
#include "flame/base/matrix_view.h"

namespace flame::kernels {

/// The feed-forward activations of T5-style configurations (`dense_act_fn`).
enum class Activation : std::uint8_t { kRelu, kGelu, kGeluNew, kSilu };

/// "relu", "gelu" (by erf), "gelu_new" / "gelu_pytorch_tanh" (by tanh), "silu" / "swish". False for another name.
[[nodiscard]] bool parse_activation(std::string_view name, Activation& activation);
[[nodiscard]] std::string_view name_of(Activation activation);

/// values[i] = activation(values[i]).
void activate(Activation activation, std::span<float> values);

/// T5's layer norm: output[t][i] = weight[i] * input[t][i] / sqrt(mean of input[t]² + epsilon), in fp32, one row a
/// token. `output` may be `input`.
void rms_norm(MatrixView<const float> input, std::span<const float> weight, float epsilon, MatrixView<float> output);

/// In place: values[i] = exp(values[i] - max) / sum. An empty span is left alone.
void softmax(std::span<float> values);

/// accumulator[i] += addend[i].
void add(std::span<const float> addend, std::span<float> accumulator);

/// accumulator[i] += factor * addend[i]. The product is rounded before it is added, as transformers does it.
void add_scaled(float factor, std::span<const float> addend, std::span<float> accumulator);

/// values[i] *= factor.
void scale(float factor, std::span<float> values);

/// values[i] *= factors[i].
void multiply(std::span<const float> factors, std::span<float> values);

/// Writes `values` as `type`, kF32 or kBF16 (rounded), to `output`, which needs no alignment.
void store(std::span<const float> values, DataType type, std::byte* output);

/// output[i] = BFloat16::from_float(values[i]). `output` is as long as `values`.
void round_to_bf16(std::span<const float> values, std::span<BFloat16> output);

[[nodiscard]] float dot(std::span<const float> a, std::span<const float> b);

/// Largest |value|; 0 for an empty span.
[[nodiscard]] float max_abs(std::span<const float> values);

/// Index of the largest value, the first of equal ones; NaN never wins. `values` is not empty.
[[nodiscard]] std::size_t argmax(std::span<const float> values);

}  // namespace flame::kernels
