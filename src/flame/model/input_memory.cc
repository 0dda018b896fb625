#include "flame/model/input_memory.h"

#include <fmt/format.h>

#include "flame/base/byte_size.h"
#include "flame/base/data_type.h"
#include "flame/base/error.h"
#include "flame/base/memory_usage.h"
#include "flame/base/thread_pool.h"
#include "flame/kernels/attention.h"

namespace flame::model {

std::uint64_t input_memory(const SwitchConfig& config, const DenseWeights& weights, std::size_t tokens) {
  // Rows of d_model: hidden; attention's normed and projected; feed-forward's normed and output; an expert's input and
  // output. Rows of inner_dim: query, key, value, attended; what the cross-attention's are projected into.
  constexpr std::uint64_t kModelRows = 7;
  constexpr std::uint64_t kInnerRows = 5;
  // A head's bias has an element for every distance, and grows by doubling.
  constexpr std::uint64_t kBiasElements = 4;
  const std::uint64_t floats = kModelRows * config.d_model + kInnerRows * config.inner_dim() +
                               ThreadPool::threads() * kernels::kQueryBlock + kBiasElements * config.num_heads;
  const std::uint64_t cached = std::uint64_t{2} * config.num_decoder_layers * config.inner_dim();
  return tokens * (floats * sizeof(float) + cached * size_of(weights.key_value_type));
}

void require_input_memory(const SwitchConfig& config, const DenseWeights& weights, std::size_t tokens,
                          std::uint64_t available) {
  const std::uint64_t needed = input_memory(config, weights, tokens);
  if (available == 0 || needed <= available) return;
  throw UsageError(
      fmt::format("{} tokens of input take {} of memory, and {} are available: --max-input-tokens cuts "
                  "long prompts, a smaller --batch takes fewer at once",
                  tokens, format_byte_size(needed), format_byte_size(available)));
}

void require_input_memory(const SwitchConfig& config, const DenseWeights& weights, std::size_t tokens) {
  // Asking reads several files below /proc and /sys, for each prompt.
  constexpr std::uint64_t kOrdinary = std::uint64_t{64} << 20;
  if (input_memory(config, weights, tokens) > kOrdinary) {
    require_input_memory(config, weights, tokens, available_memory());
  }
}

}  // namespace flame::model
