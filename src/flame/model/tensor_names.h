#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "flame/model/config.h"
#include "flame/model/moe_device.h"

namespace flame::model {

/// Whether feed-forward layers have a gate: the checkpoint's tensors decide (wi_0 and wi_1, or wi).
enum class Gating : std::uint8_t { kPlain, kGated };

/// Names of the token embeddings and the head in a checkpoint.
inline constexpr std::string_view kSharedEmbedding = "shared.weight";
inline constexpr std::string_view kEncoderEmbedding = "encoder.embed_tokens.weight";
inline constexpr std::string_view kDecoderEmbedding = "decoder.embed_tokens.weight";
inline constexpr std::string_view kHead = "lm_head.weight";

/// A tensor that a model of some configuration has.
struct NamedShape {
  std::string name;
  std::vector<std::uint64_t> shape;
};

/// "encoder" or "decoder".
[[nodiscard]] std::string_view name_of(Stack stack);

/// "decoder.block.3.layer.0.SelfAttention.q.weight" for (kDecoder, 3, "layer.0.SelfAttention.q.weight").
[[nodiscard]] std::string block_tensor_name(Stack stack, std::size_t block, std::string_view rest);

/// The sublayer that holds a block's feed-forward: "layer.1" in the encoder, "layer.2" in the decoder.
[[nodiscard]] std::string_view feed_forward_layer(Stack stack);

/// Name of an expert's tensor: "wi", "wi_0", "wi_1" or "wo" of `expert` in MoE layer `layer`.
[[nodiscard]] std::string expert_tensor_name(const SwitchConfig& config, MoeLayer layer, std::size_t expert,
                                             std::string_view matrix);

/// Everything but embeddings, head and experts, in the order of the blocks.
[[nodiscard]] std::vector<NamedShape> dense_tensors(const SwitchConfig& config, Gating gating);

/// All experts' tensors, expert by expert, layer by layer, encoder first.
[[nodiscard]] std::vector<NamedShape> expert_tensors(const SwitchConfig& config, Gating gating);

}  // namespace flame::model
