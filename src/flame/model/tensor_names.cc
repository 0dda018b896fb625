#include "flame/model/tensor_names.h"

namespace flame::model {
namespace {

std::string joined(std::string_view prefix, std::string_view rest) {
  std::string name(prefix);
  name += '.';
  name += rest;
  return name;
}

void add_attention(const SwitchConfig& config, const std::string& prefix, std::vector<NamedShape>& tensors) {
  for (const char* projection : {"q", "k", "v"}) {
    tensors.push_back({prefix + "." + projection + ".weight", {config.inner_dim(), config.d_model}});
  }
  tensors.push_back({prefix + ".o.weight", {config.d_model, config.inner_dim()}});
}

// The matrices of one feed-forward network whose names begin with `prefix`.
void add_feed_forward(const SwitchConfig& config, Gating gating, const std::string& prefix,
                      std::vector<NamedShape>& tensors) {
  if (gating == Gating::kGated) {
    tensors.push_back({prefix + ".wi_0.weight", {config.d_ff, config.d_model}});
    tensors.push_back({prefix + ".wi_1.weight", {config.d_ff, config.d_model}});
  } else {
    tensors.push_back({prefix + ".wi.weight", {config.d_ff, config.d_model}});
  }
  tensors.push_back({prefix + ".wo.weight", {config.d_model, config.d_ff}});
}

void add_block(const SwitchConfig& config, Gating gating, Stack stack, std::uint32_t block,
               std::vector<NamedShape>& tensors) {
  const auto name = [&](std::string_view rest) { return block_tensor_name(stack, block, rest); };
  tensors.push_back({name("layer.0.layer_norm.weight"), {config.d_model}});
  add_attention(config, name("layer.0.SelfAttention"), tensors);
  if (block == 0) {
    tensors.push_back({name("layer.0.SelfAttention.relative_attention_bias.weight"),
                       {config.relative_attention_num_buckets, config.num_heads}});
  }
  if (stack == Stack::kDecoder) {
    tensors.push_back({name("layer.1.layer_norm.weight"), {config.d_model}});
    add_attention(config, name("layer.1.EncDecAttention"), tensors);
  }
  const std::string_view layer = feed_forward_layer(stack);
  tensors.push_back({name(joined(layer, "layer_norm.weight")), {config.d_model}});
  if (!config.is_sparse(stack, block)) {
    add_feed_forward(config, gating, name(joined(layer, "mlp")), tensors);
    return;
  }
  tensors.push_back({name(joined(layer, "mlp.router.classifier.weight")), {config.num_experts, config.d_model}});
  if (config.router_bias) {
    tensors.push_back({name(joined(layer, "mlp.router.classifier.bias")), {config.num_experts}});
  }
}

}  // namespace

std::string_view name_of(Stack stack) { return stack == Stack::kEncoder ? "encoder" : "decoder"; }

std::string block_tensor_name(Stack stack, std::size_t block, std::string_view rest) {
  return joined(std::string(name_of(stack)) + ".block." + std::to_string(block), rest);
}

std::string_view feed_forward_layer(Stack stack) { return stack == Stack::kEncoder ? "layer.1" : "layer.2"; }

std::string expert_tensor_name(const SwitchConfig& config, MoeLayer layer, std::size_t expert,
                               std::string_view matrix) {
  return block_tensor_name(layer.stack, config.block_of(layer),
                           joined(feed_forward_layer(layer.stack), "mlp.experts.expert_" + std::to_string(expert))) +
         "." + std::string(matrix) + ".weight";
}

std::vector<NamedShape> dense_tensors(const SwitchConfig& config, Gating gating) {
  std::vector<NamedShape> tensors;
  for (const Stack stack : {Stack::kEncoder, Stack::kDecoder}) {
    for (std::uint32_t block = 0; block < config.layers(stack); ++block) {
      add_block(config, gating, stack, block, tensors);
    }
    tensors.push_back({joined(name_of(stack), "final_layer_norm.weight"), {config.d_model}});
  }
  return tensors;
}

std::vector<NamedShape> expert_tensors(const SwitchConfig& config, Gating gating) {
  std::vector<NamedShape> tensors;
  for (const Stack stack : {Stack::kEncoder, Stack::kDecoder}) {
    for (std::uint32_t layer = 0; layer < config.moe_layers(stack); ++layer) {
      for (std::uint32_t expert = 0; expert < config.num_experts; ++expert) {
        std::string first = expert_tensor_name(config, {stack, layer}, expert, "wo");
        first.resize(first.size() - std::string_view(".wo.weight").size());
        add_feed_forward(config, gating, first, tensors);
      }
    }
  }
  return tensors;
}

}  // namespace flame::model
