#include "flame/model/config.h"

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/io/file.h"

namespace flame::model {
namespace {

constexpr std::string_view kArchitecture = "SwitchTransformersForConditionalGeneration";
constexpr std::string_view kModelType = "switch_transformers";

// Generous bounds that keep every product of two or three extents far from overflow.
constexpr std::int64_t kLargestExtent = 1 << 24;
constexpr std::int64_t kMostHeads = 1 << 15;
constexpr std::int64_t kMostLayers = 4096;
constexpr std::int64_t kMostExperts = 65535;  // RoutingDecision::expert has 16 bits

[[noreturn]] void refuse(const std::filesystem::path& origin, const std::string& what) {
  throw ModelError(origin.string() + ": " + what);
}

Activation parse_activation(const std::filesystem::path& origin, std::string_view key, std::string_view name) {
  Activation activation = Activation::kRelu;
  if (kernels::parse_activation(name, activation)) return activation;
  refuse(origin, std::string(key) + ": unknown activation \"" + std::string(name) +
                     "\"; FLAME has relu, gelu, gelu_new (gelu_pytorch_tanh) and silu (swish)");
}

// T5Config's rule: "gated-gelu" means the tanh form.
Activation parse_gated(const std::filesystem::path& origin, std::string_view key, std::string_view name) {
  const std::string_view inner = name.substr(std::string_view("gated-").size());
  return inner == "gelu" ? Activation::kGeluNew : parse_activation(origin, key, inner);
}

bool is_gated_name(std::string_view name) { return name.starts_with("gated-"); }

void read_extent(const JsonView& root, const char* key, std::uint32_t& value, std::int64_t minimum,
                 std::int64_t maximum) {
  if (const auto found = root.find(key)) value = static_cast<std::uint32_t>(found->as_integer(minimum, maximum));
}

void read_flag(const JsonView& root, const char* key, bool& value) {
  if (const auto found = root.find(key)) value = found->as_bool();
}

// A token id; transformers writes null for "none", which is not the same as leaving the key out.
void read_token(const JsonView& root, const char* key, std::optional<std::int32_t>& value) {
  if (!root.value().contains(key)) return;
  const auto found = root.find(key);
  value = found ? std::optional(static_cast<std::int32_t>(found->as_integer(0, INT32_MAX))) : std::nullopt;
}

void read_end_tokens(const JsonView& root, std::vector<std::int32_t>& values) {
  if (!root.value().contains("eos_token_id")) return;
  values.clear();
  const auto found = root.find("eos_token_id");
  if (!found) return;
  if (!found->is_array()) {
    values.push_back(static_cast<std::int32_t>(found->as_integer(0, INT32_MAX)));
    return;
  }
  for (std::size_t i = 0; i < found->size(); ++i) {
    values.push_back(static_cast<std::int32_t>(found->element(i).as_integer(0, INT32_MAX)));
  }
}

void check_architecture(const JsonView& root) {
  if (const auto type = root.find("model_type"); type && type->as_string() != kModelType) {
    refuse(root.source(),
           "model_type is \"" + type->as_string() + "\"; FLAME runs \"" + std::string(kModelType) + "\"");
  }
  if (const auto found = root.find("is_encoder_decoder"); found && !found->as_bool()) {
    refuse(root.source(), "is_encoder_decoder is false; FLAME runs encoder-decoder models");
  }
  if (root.find("quantization_config")) {
    refuse(root.source(), "has a quantization_config; FLAME reads weights in F32, F16 and BF16");
  }
  const auto architectures = root.find("architectures");
  if (!architectures || architectures->size() == 0) return;
  for (std::size_t i = 0; i < architectures->size(); ++i) {
    if (architectures->element(i).as_string() == kArchitecture) return;
  }
  refuse(root.source(), "architecture is \"" + architectures->element(0).as_string() + "\"; FLAME runs \"" +
                            std::string(kArchitecture) + "\"");
}

std::uint32_t default_step(std::uint32_t layers, std::uint32_t sparse) { return sparse > 0 ? layers / sparse : layers; }

void read_sparsity(const JsonView& root, SwitchConfig& config) {
  read_extent(root, "num_sparse_encoder_layers", config.num_sparse_encoder_layers, 0, kMostLayers);
  read_extent(root, "num_sparse_decoder_layers", config.num_sparse_decoder_layers, 0, kMostLayers);
  config.encoder_sparse_step = default_step(config.num_layers, config.num_sparse_encoder_layers);
  config.decoder_sparse_step = default_step(config.num_decoder_layers, config.num_sparse_decoder_layers);
  read_extent(root, "encoder_sparse_step", config.encoder_sparse_step, 0, kMostLayers);
  read_extent(root, "decoder_sparse_step", config.decoder_sparse_step, 0, kMostLayers);
}

void read_activations(const JsonView& root, SwitchConfig& config) {
  if (const auto found = root.find("dense_act_fn")) {
    const std::string name = found->as_string();
    config.activation = is_gated_name(name) ? parse_gated(root.source(), "dense_act_fn", name)
                                            : parse_activation(root.source(), "dense_act_fn", name);
  }
  config.gated_activation = config.activation;
  if (const auto found = root.find("feed_forward_proj"); found && is_gated_name(found->as_string())) {
    config.gated_activation = parse_gated(root.source(), "feed_forward_proj", found->as_string());
  }
}

void read_router(const JsonView& root, SwitchConfig& config) {
  read_extent(root, "num_experts", config.num_experts, 1, kMostExperts);
  read_extent(root, "expert_capacity", config.expert_capacity, 0, INT32_MAX);
  read_flag(root, "router_bias", config.router_bias);
  if (const auto found = root.find("num_selected_experts"); found && found->as_integer() != 1) {
    refuse(root.source(),
           "num_selected_experts is " + std::to_string(found->as_integer()) + "; a Switch layer selects 1 expert");
  }
  if (const auto found = root.find("router_dtype")) {
    const std::string name = found->as_string();
    if (name == "float32") {
      config.router_dtype = DataType::kF32;
    } else if (name == "bfloat16") {
      config.router_dtype = DataType::kBF16;
    } else if (name == "float16") {
      config.router_dtype = DataType::kF16;
    } else {
      refuse(root.source(), "router_dtype is \"" + name + "\"; it can be float32, bfloat16 or float16");
    }
  }
}

// transformers' attribute_map: other names of three keys, which win over their own. They are read behind the sparse
// steps, which do not follow num_hidden_layers there either.
void read_aliases(const JsonView& root, SwitchConfig& config) {
  read_extent(root, "hidden_size", config.d_model, 1, kLargestExtent);
  read_extent(root, "num_attention_heads", config.num_heads, 1, kMostHeads);
  read_extent(root, "num_hidden_layers", config.num_layers, 1, kMostLayers);
}

void read_position_bias(const JsonView& root, SwitchConfig& config) {
  // The encoder's buckets are halved for direction and halved again for exact distances: fewer than 4 leave none.
  read_extent(root, "relative_attention_num_buckets", config.relative_attention_num_buckets, 4, 1 << 16);
  read_extent(root, "relative_attention_max_distance", config.relative_attention_max_distance, 1, kLargestExtent);
}

void read_tokens(const JsonView& root, SwitchConfig& config) {
  read_token(root, "pad_token_id", config.pad_token_id);
  read_token(root, "bos_token_id", config.bos_token_id);
  read_token(root, "decoder_start_token_id", config.decoder_start_token_id);
  read_end_tokens(root, config.eos_token_ids);
}

}  // namespace

std::uint32_t SwitchConfig::layers(Stack stack) const {
  return stack == Stack::kEncoder ? num_layers : num_decoder_layers;
}

bool SwitchConfig::is_sparse(Stack stack, std::uint32_t block) const {
  const std::uint32_t step = stack == Stack::kEncoder ? encoder_sparse_step : decoder_sparse_step;
  return step > 0 && (step == 1 || block % step == 1);
}

std::uint32_t SwitchConfig::moe_layers(Stack stack) const {
  std::uint32_t count = 0;
  for (std::uint32_t block = 0; block < layers(stack); ++block) count += is_sparse(stack, block) ? 1 : 0;
  return count;
}

std::uint32_t SwitchConfig::block_of(MoeLayer layer) const {
  const std::uint32_t step = layer.stack == Stack::kEncoder ? encoder_sparse_step : decoder_sparse_step;
  return step == 1 ? layer.index : layer.index * step + 1;
}

SwitchConfig parse_config(std::string_view json, const std::filesystem::path& origin) {
  const Json document = parse_json(json, origin);
  const JsonView root(document, origin);
  if (!root.is_object()) root.fail("expected an object");
  check_architecture(root);

  SwitchConfig config;
  read_extent(root, "vocab_size", config.vocab_size, 1, kLargestExtent);
  read_extent(root, "d_model", config.d_model, 1, kLargestExtent);
  read_extent(root, "d_kv", config.d_kv, 1, 1 << 16);
  read_extent(root, "d_ff", config.d_ff, 1, kLargestExtent);
  read_extent(root, "num_heads", config.num_heads, 1, kMostHeads);
  read_extent(root, "num_layers", config.num_layers, 1, kMostLayers);
  // null, as transformers has it, means as many as the encoder; a missing key means the class's 12.
  if (root.value().contains("num_decoder_layers")) config.num_decoder_layers = config.num_layers;
  read_extent(root, "num_decoder_layers", config.num_decoder_layers, 1, kMostLayers);
  read_sparsity(root, config);
  read_aliases(root, config);
  if (std::uint64_t{config.num_heads} * config.d_kv > std::uint64_t{kLargestExtent}) {
    refuse(origin, "num_heads * d_kv is above " + std::to_string(kLargestExtent));
  }
  read_router(root, config);
  read_position_bias(root, config);
  read_activations(root, config);
  if (const auto found = root.find("layer_norm_epsilon")) {
    config.layer_norm_epsilon = static_cast<float>(found->as_number(0.0, 1.0));
  }
  read_flag(root, "tie_word_embeddings", config.tie_word_embeddings);
  read_tokens(root, config);
  return config;
}

SwitchConfig load_config(const std::filesystem::path& model) {
  io::FileSystem& files = io::FileSystem::real();
  const bool directory = files.is_directory(model);
  const std::filesystem::path path = directory ? model / "config.json" : model;
  if (directory && !files.exists(path)) {
    throw ModelError(path.string() + ": not found; a model directory needs its config.json");
  }
  if (!files.exists(path)) throw FileError(path, "there is no such model directory or config.json");
  // A pipe, as the shell's <(command) makes, may have any name.
  if (files.is_regular(path) && path.extension() != ".json")
    throw FileError(path, "expected a model directory or its config.json");
  return parse_config(io::read_file(path), path);
}

std::string to_json(const SwitchConfig& config, DataType stored) {
  const auto torch_name = [](DataType type) {
    return type == DataType::kBF16 ? "bfloat16" : type == DataType::kF16 ? "float16" : "float32";
  };
  const auto token = [](const std::optional<std::int32_t>& id) { return id ? Json(*id) : Json(nullptr); };
  Json json{{"architectures", Json::array({std::string(kArchitecture)})},
            {"model_type", std::string(kModelType)},
            {"is_encoder_decoder", true},
            {"vocab_size", config.vocab_size},
            {"d_model", config.d_model},
            {"d_kv", config.d_kv},
            {"d_ff", config.d_ff},
            {"num_heads", config.num_heads},
            {"num_layers", config.num_layers},
            {"num_decoder_layers", config.num_decoder_layers},
            {"num_sparse_encoder_layers", config.num_sparse_encoder_layers},
            {"num_sparse_decoder_layers", config.num_sparse_decoder_layers},
            {"encoder_sparse_step", config.encoder_sparse_step},
            {"decoder_sparse_step", config.decoder_sparse_step},
            {"num_experts", config.num_experts},
            {"num_selected_experts", 1},
            {"expert_capacity", config.expert_capacity},
            {"router_bias", config.router_bias},
            {"router_dtype", torch_name(config.router_dtype)},
            {"relative_attention_num_buckets", config.relative_attention_num_buckets},
            {"relative_attention_max_distance", config.relative_attention_max_distance},
            {"dense_act_fn", std::string(kernels::name_of(config.activation))},
            {"tie_word_embeddings", config.tie_word_embeddings},
            {"pad_token_id", token(config.pad_token_id)},
            {"bos_token_id", token(config.bos_token_id)},
            {"decoder_start_token_id", token(config.decoder_start_token_id)},
            {"use_cache", true},
            {"dtype", torch_name(stored)}};
  // The shortest decimal that is the same float again: 1e-06, not the double next to it.
  std::array<char, 32> epsilon{};
  std::snprintf(epsilon.data(), epsilon.size(), "%.9g", static_cast<double>(config.layer_norm_epsilon));
  for (int digits = 1; digits < 9; ++digits) {
    std::array<char, 32> shorter{};
    std::snprintf(shorter.data(), shorter.size(), "%.*g", digits, static_cast<double>(config.layer_norm_epsilon));
    if (std::strtof(shorter.data(), nullptr) == config.layer_norm_epsilon) {
      epsilon = shorter;
      break;
    }
  }
  json["layer_norm_epsilon"] = std::strtod(epsilon.data(), nullptr);
  json["eos_token_id"] = config.eos_token_ids.size() == 1 ? Json(config.eos_token_ids.front())
                         : config.eos_token_ids.empty()   ? Json(nullptr)
                                                          : Json(config.eos_token_ids);
  return json.dump(2) + "\n";
}

}  // namespace flame::model
