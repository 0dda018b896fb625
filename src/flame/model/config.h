#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flame/base/data_type.h"
#include "flame/kernels/vector_ops.h"
#include "flame/model/moe_device.h"

namespace flame::model {

using kernels::Activation;

/// config.json of a SwitchTransformersForConditionalGeneration. A key that is missing has the default of transformers'
/// SwitchTransformersConfig (5.24), which is written here as the member's initial value.
struct SwitchConfig {
  std::uint32_t vocab_size = 32128;
  std::uint32_t d_model = 768;
  std::uint32_t d_kv = 64;  ///< width of one head; heads * d_kv need not be d_model
  std::uint32_t d_ff = 2048;
  std::uint32_t num_heads = 12;
  std::uint32_t num_layers = 12;          ///< encoder blocks
  std::uint32_t num_decoder_layers = 12;  ///< num_layers when the key is null
  std::uint32_t num_sparse_encoder_layers = 3;
  std::uint32_t num_sparse_decoder_layers = 3;
  std::uint32_t num_experts = 8;
  std::uint32_t expert_capacity = 64;  ///< tokens one expert takes of one sequence in one forward pass

  /// Block i is sparse when step == 1 or i % step == 1; none is when step == 0. Without the key
  /// encoder_sparse_step (decoder_sparse_step) in config.json: blocks / num_sparse_*, or the number of blocks when
  /// num_sparse_* is 0 (which makes block 1 sparse all the same, as in transformers). With the key, the key decides.
  std::uint32_t encoder_sparse_step = 4;
  std::uint32_t decoder_sparse_step = 4;

  bool router_bias = false;
  DataType router_dtype = DataType::kF32;  ///< precision of the router's linear layer and softmax
  std::uint32_t relative_attention_num_buckets = 32;
  std::uint32_t relative_attention_max_distance = 128;
  float layer_norm_epsilon = 1e-6F;
  Activation activation = Activation::kRelu;        ///< dense_act_fn: what a feed-forward of wi and wo uses
  Activation gated_activation = Activation::kRelu;  ///< what one of wi_0, wi_1 and wo uses: feed_forward_proj "gated-…"
                                                    ///< by T5's rule, else dense_act_fn
  bool tie_word_embeddings = true;

  std::optional<std::int32_t> pad_token_id = 0;
  std::optional<std::int32_t> bos_token_id;
  std::vector<std::int32_t> eos_token_ids = {1};
  std::optional<std::int32_t> decoder_start_token_id;

  /// Width of all heads together.
  [[nodiscard]] std::uint32_t inner_dim() const { return num_heads * d_kv; }
  /// Blocks of a stack.
  [[nodiscard]] std::uint32_t layers(Stack stack) const;
  [[nodiscard]] bool is_sparse(Stack stack, std::uint32_t block) const;
  /// Sparse blocks of a stack: MoeLayer::index runs from 0 to this.
  [[nodiscard]] std::uint32_t moe_layers(Stack stack) const;
  /// The block that holds a MoE layer. `layer.index` must be below moe_layers().
  [[nodiscard]] std::uint32_t block_of(MoeLayer layer) const;

  friend bool operator==(const SwitchConfig&, const SwitchConfig&) = default;
};

/// Reads config.json's text. `origin` names the file in messages.
/// Throws FormatError for bad JSON, ModelError for an architecture or a value that FLAME does not run, each by name.
[[nodiscard]] SwitchConfig parse_config(std::string_view json, const std::filesystem::path& origin);

/// Reads MODEL/config.json, or MODEL itself when it is a file.
[[nodiscard]] SwitchConfig load_config(const std::filesystem::path& model);

/// The text of a config.json with every value of `config`, as transformers writes it. `stored` is the "dtype" key.
[[nodiscard]] std::string to_json(const SwitchConfig& config, DataType stored);

}  // namespace flame::model
