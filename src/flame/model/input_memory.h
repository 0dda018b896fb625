#pragma once

#include <cstddef>
#include <cstdint>

#include "flame/model/config.h"
#include "flame/model/weights.h"

namespace flame::model {

/// Bytes that inputs of `tokens` tokens in all take beside the weights, from the encoder to the decoder's first step:
/// the encoder's activations, a block of attention scores a thread, and cross-attention's keys and values. An estimate
/// from above; it grows with the tokens, not with their square.
[[nodiscard]] std::uint64_t input_memory(const SwitchConfig& config, const DenseWeights& weights, std::size_t tokens);

/// Throws UsageError, with both numbers, when input_memory() is more than `available` bytes; 0: not known.
void require_input_memory(const SwitchConfig& config, const DenseWeights& weights, std::size_t tokens,
                          std::uint64_t available);

/// The same with available_memory(), which is not asked for what an ordinary prompt takes.
void require_input_memory(const SwitchConfig& config, const DenseWeights& weights, std::size_t tokens);

}  // namespace flame::model
