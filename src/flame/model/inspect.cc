#include "flame/model/inspect.h"

#include <string_view>

namespace flame::model {
namespace {

std::uint64_t elements(const NamedShape& tensor) {
  std::uint64_t product = 1;
  for (const std::uint64_t extent : tensor.shape) product *= extent;
  return product;
}

bool contains(std::string_view name, std::string_view part) { return name.find(part) != std::string_view::npos; }

}  // namespace

std::uint64_t ParameterCount::total() const {
  return embeddings + attention + dense_feed_forward + experts + routers + norms;
}

double ParameterCount::expert_share() const { return static_cast<double>(experts) / static_cast<double>(total()); }

double ParameterCount::expert_share_without_embeddings() const {
  return static_cast<double>(experts) / static_cast<double>(total() - embeddings);
}

ParameterCount count_parameters(const SwitchConfig& config, Gating gating) {
  ParameterCount count;
  count.embeddings = std::uint64_t{config.vocab_size} * config.d_model * (config.tie_word_embeddings ? 1 : 3);
  count.experts = expert_count(config) * expert_parameters(config, gating);
  for (const NamedShape& tensor : dense_tensors(config, gating)) {
    if (contains(tensor.name, "layer_norm")) {
      count.norms += elements(tensor);
    } else if (contains(tensor.name, ".router.")) {
      count.routers += elements(tensor);
    } else if (contains(tensor.name, ".mlp.")) {
      count.dense_feed_forward += elements(tensor);
    } else {
      count.attention += elements(tensor);
    }
  }
  return count;
}

std::uint64_t expert_parameters(const SwitchConfig& config, Gating gating) {
  return std::uint64_t{config.d_model} * config.d_ff * (gating == Gating::kGated ? 3 : 2);
}

std::uint64_t expert_count(const SwitchConfig& config) {
  return std::uint64_t{config.num_experts} * (config.moe_layers(Stack::kEncoder) + config.moe_layers(Stack::kDecoder));
}

}  // namespace flame::model
