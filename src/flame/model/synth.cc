#include "flame/model/synth.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/base/json.h"
#include "flame/base/random.h"
#include "flame/base/thread_pool.h"
#include "flame/io/atomic_output.h"
#include "flame/io/file.h"
#include "flame/io/safetensors_writer.h"
#include "flame/model/tensor_names.h"

namespace flame::model {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 21;      // elements made at a time
constexpr std::size_t kGrain = std::size_t{1} << 15;      // elements a thread takes at a time
constexpr std::size_t kQuantiles = std::size_t{1} << 16;  // of the normal distribution, drawn by 16 random bits
constexpr std::size_t kValuesPerDraw = 4;                 // 16 of 64 bits each
constexpr float kRouterDeviation = 1.5F;                  // of a router's logits
constexpr float kEmbeddingMeanDeviation = 0.65F;          // of the part that all tokens share, beside 1 of their own
constexpr float kPositionDeviation = 0.5F;
constexpr float kScoreDeviation = 3.0F;      // of attention scores: sharp enough that positions differ
constexpr float kResidualDeviation = 0.15F;  // of what a sublayer adds to the residual stream: tokens stay themselves
// What the decoder's last feed-forward adds: much, as a tied head would otherwise repeat the last token for ever.
constexpr float kLastResidualDeviation = 30.0F;
constexpr float kOutputDeviation = 2.0F;  // of the vocabulary's logits
// Neighbouring columns of wo are negatively correlated. That takes back the mean of ReLU, which would make all tokens
// more alike with every layer.
constexpr float kPairCorrelation = -0.9F;
constexpr std::uint64_t kMeanStream = ~std::uint64_t{0};  // of the embeddings' common vector

SwitchConfig switch_base(std::uint32_t experts) {
  SwitchConfig config;
  config.d_ff = 3072;
  config.num_sparse_encoder_layers = 6;
  config.num_sparse_decoder_layers = 6;
  config.encoder_sparse_step = 2;
  config.decoder_sparse_step = 2;
  config.num_experts = experts;
  config.decoder_start_token_id = 0;
  return config;
}

/// N of "switch-base-N", 1 to 999.
std::optional<std::uint32_t> experts_of_base(std::string_view name) {
  constexpr std::string_view kBase = "switch-base-";
  if (!name.starts_with(kBase) || name.size() > kBase.size() + 3) return std::nullopt;
  std::uint32_t experts = 0;
  const auto [end, error] = std::from_chars(name.data() + kBase.size(), name.data() + name.size(), experts);
  if (error != std::errc() || end != name.data() + name.size() || experts == 0) return std::nullopt;
  return experts;
}

// How one tensor's values are made.
struct Recipe {
  NamedShape tensor;
  std::uint64_t stream = 0;
  float deviation = 1.0F;  // 0: every element is `constant`
  float constant = 1.0F;
  bool is_embedding = false;
  bool is_output = false;  // of a feed-forward network

  [[nodiscard]] std::uint64_t elements() const {
    std::uint64_t product = 1;
    for (const std::uint64_t extent : tensor.shape) product *= extent;
    return product;
  }
};

float deviation_of(const SwitchConfig& config, const NamedShape& tensor) {
  const std::string& name = tensor.name;
  const auto inputs = static_cast<double>(tensor.shape.back());
  double deviation = 1.0 / std::sqrt(inputs);
  if (name.ends_with("layer_norm.weight")) return 0.0F;
  if (name.ends_with("relative_attention_bias.weight")) return kPositionDeviation;
  if (name.ends_with("router.classifier.bias")) return 0.1F;
  if (name.ends_with("router.classifier.weight")) deviation *= kRouterDeviation;
  // Attention scores are not divided by sqrt(d_kv): the query projection is that much smaller instead.
  if (name.ends_with(".q.weight")) deviation *= kScoreDeviation / std::sqrt(config.d_kv);
  if (name.ends_with(".o.weight")) deviation *= kResidualDeviation;
  if (name.ends_with(".wo.weight")) {
    const bool is_last = name.starts_with(block_tensor_name(Stack::kDecoder, config.num_decoder_layers - 1, ""));
    // Half of the inputs are zero after ReLU.
    deviation *= std::sqrt(2.0) * (is_last ? kLastResidualDeviation : kResidualDeviation);
  }
  return static_cast<float>(deviation);
}

std::vector<Recipe> recipes(const SwitchConfig& config) {
  std::vector<Recipe> list;
  const std::vector<std::uint64_t> vocabulary{config.vocab_size, config.d_model};
  list.push_back({{std::string(kSharedEmbedding), vocabulary}, 0, 1.0F, 0.0F, true, false});
  if (!config.tie_word_embeddings) {
    // The three embeddings hold the same values, as transformers 4 shares them.
    list.push_back({{std::string(kEncoderEmbedding), vocabulary}, 0, 1.0F, 0.0F, true, false});
    list.push_back({{std::string(kDecoderEmbedding), vocabulary}, 0, 1.0F, 0.0F, true, false});
    list.push_back(
        {{std::string(kHead), vocabulary}, 1, static_cast<float>(1.0 / std::sqrt(config.d_model)), 0.0F, false, false});
  }
  std::vector<NamedShape> tensors = dense_tensors(config, Gating::kPlain);
  std::vector<NamedShape> experts = expert_tensors(config, Gating::kPlain);
  tensors.insert(tensors.end(), std::make_move_iterator(experts.begin()), std::make_move_iterator(experts.end()));
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const float deviation = deviation_of(config, tensors[i]);
    const bool is_output = tensors[i].name.ends_with(".wo.weight");
    const bool is_last_norm = tensors[i].name == "decoder.final_layer_norm.weight";
    const float constant = is_last_norm ? kOutputDeviation : 1.0F;
    list.push_back({std::move(tensors[i]), i + 2, deviation, constant, false, is_output});
  }
  return list;
}

// Makes the values of tensors, piece by piece, the same on any number of threads.
class ValueMaker {
 public:
  ValueMaker(const SwitchConfig& config, DataType type, std::uint64_t seed)
      : type_(type), seed_(seed), quantiles_(kQuantiles), mean_(config.d_model) {
    double quantile = -5.0;
    for (std::size_t i = 0; i < kQuantiles; ++i) {
      quantile = normal_quantile((static_cast<double>(i) + 0.5) / static_cast<double>(kQuantiles), quantile);
      quantiles_[i] = static_cast<float>(quantile);
    }
    const Random random(seed, kMeanStream);
    for (std::size_t i = 0; i < mean_.size(); ++i) {
      mean_[i] = kEmbeddingMeanDeviation * static_cast<float>(random.normal_at(i));
    }
  }

  // Elements [first, first + count) of the recipe's tensor; valid until the next call. `first` is a multiple of kChunk.
  std::span<const std::byte> make(const Recipe& recipe, std::uint64_t first, std::size_t count) {
    bytes_.resize(count * size_of(type_));
    const Random random(seed_, recipe.stream);
    const auto drawn = [&](std::uint64_t position) {
      const std::uint64_t bits = random.bits_at(position / kValuesPerDraw);
      return quantiles_[(bits >> (16 * (position % kValuesPerDraw))) & (kQuantiles - 1)];
    };
    ThreadPool::parallel_for(count, kGrain, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) {
        const std::uint64_t position = first + i;
        float value = recipe.constant;
        if (recipe.deviation > 0.0F) {
          value = drawn(position);
          if (recipe.is_output && position % 2 == 1) {
            value =
                kPairCorrelation * drawn(position - 1) + std::sqrt(1.0F - kPairCorrelation * kPairCorrelation) * value;
          }
          value *= recipe.deviation;
          if (recipe.is_embedding) value += mean_[position % mean_.size()];
        }
        store(i, value);
      }
    });
    return bytes_;
  }

 private:
  // The inverse of the normal distribution function, by Newton's method from a value close by.
  static double normal_quantile(double probability, double start) {
    double x = start;
    for (int step = 0; step < 100; ++step) {
      const double error = 0.5 * std::erfc(-x / std::sqrt(2.0)) - probability;
      const double density = std::exp(-0.5 * x * x) / std::sqrt(2.0 * std::acos(-1.0));
      const double change = std::clamp(error / density, -0.5, 0.5);
      x -= change;
      if (std::abs(change) < 1e-9) break;
    }
    return x;
  }

  void store(std::size_t index, float value) {
    if (type_ == DataType::kF32) {
      std::memcpy(bytes_.data() + index * sizeof(value), &value, sizeof(value));
      return;
    }
    const std::uint16_t bits =
        type_ == DataType::kBF16 ? BFloat16::from_float(value).bits : Float16::from_float(value).bits;
    std::memcpy(bytes_.data() + index * sizeof(bits), &bits, sizeof(bits));
  }

  DataType type_;
  std::uint64_t seed_;
  std::vector<float> quantiles_;
  std::vector<float> mean_;
  std::vector<std::byte> bytes_;
};

// Tensors in their order, as many to a file as fit in `limit` bytes.
std::vector<std::vector<Recipe>> split_into_shards(std::vector<Recipe> list, DataType type, std::uint64_t limit) {
  std::vector<std::vector<Recipe>> shards(1);
  std::uint64_t filled = 0;
  for (Recipe& recipe : list) {
    const std::uint64_t bytes = recipe.elements() * size_of(type);
    if (!shards.back().empty() && bytes > limit - std::min(limit, filled)) {
      shards.emplace_back();
      filled = 0;
    }
    filled += bytes;
    shards.back().push_back(std::move(recipe));
  }
  return shards;
}

std::string shard_name(std::size_t index, std::size_t count) {
  if (count == 1) return "model.safetensors";
  std::array<char, 64> name{};
  std::snprintf(name.data(), name.size(), "model-%05zu-of-%05zu.safetensors", index + 1, count);
  return name.data();
}

void write_text(io::AtomicDirectory& output, const std::string& name, const std::string& text) {
  const std::unique_ptr<io::WritableFile> file = io::FileSystem::real().create(output.path() / name);
  file->append(text);
  file->close();
}

std::string generation_json(const SwitchConfig& config) {
  Json json{{"_from_model_config", true},
            {"decoder_start_token_id", config.decoder_start_token_id.value_or(config.pad_token_id.value_or(0))}};
  if (config.pad_token_id) json["pad_token_id"] = *config.pad_token_id;
  if (config.bos_token_id) json["bos_token_id"] = *config.bos_token_id;
  if (!config.eos_token_ids.empty()) {
    json["eos_token_id"] =
        config.eos_token_ids.size() == 1 ? Json(config.eos_token_ids.front()) : Json(config.eos_token_ids);
  }
  return json.dump(2) + "\n";
}

void check_options(const SynthOptions& options) {
  if (options.type != DataType::kF32 && options.type != DataType::kBF16 && options.type != DataType::kF16) {
    throw UsageError("weights can be made in f32, bf16 or f16, not in " + std::string(name_of(options.type)));
  }
  if (options.shard_bytes == 0) throw UsageError("a shard must have room for at least one byte");
}

}  // namespace

std::span<const Preset> presets() {
  // Dimensions: google/switch-base-32's config.json, and those of fine-tunes of switch-base-8, of switch-base-64 and
  // -256, which differ in num_experts alone; -16 and -128 are the same by analogy (docs/generation.md).
  static const std::array<Preset, 6> list{{{"switch-base-8", switch_base(8)},
                                           {"switch-base-16", switch_base(16)},
                                           {"switch-base-32", switch_base(32)},
                                           {"switch-base-64", switch_base(64)},
                                           {"switch-base-128", switch_base(128)},
                                           {"switch-base-256", switch_base(256)}}};
  return list;
}

const Preset* find_preset(std::string_view name) {
  const auto found = std::ranges::find(presets(), name, &Preset::name);
  return found == presets().end() ? nullptr : &*found;
}

std::string preset_names() {
  std::string names;
  for (const Preset& preset : presets()) names += (names.empty() ? "" : ", ") + std::string(preset.name);
  return names;
}

SwitchConfig load_config_or_preset(const std::filesystem::path& name) {
  if (const Preset* preset = find_preset(name.string()); preset != nullptr) return preset->config;
  if (const std::optional<std::uint32_t> experts = experts_of_base(name.string())) return switch_base(*experts);
  if (io::FileSystem::real().exists(name)) return load_config(name);
  throw FileError(name,
                  "there is no such config.json or model directory, and it is none of the presets " + preset_names());
}

void synthesise(const SwitchConfig& config, const std::filesystem::path& directory, const SynthOptions& options,
                const SynthProgress& progress) {
  check_options(options);
  std::string tokenizer;
  if (options.tokenizer) tokenizer = io::read_file(*options.tokenizer);

  const std::vector<std::vector<Recipe>> shards = split_into_shards(recipes(config), options.type, options.shard_bytes);
  std::uint64_t total = 0;
  for (const std::vector<Recipe>& shard : shards) {
    for (const Recipe& recipe : shard) total += recipe.elements() * size_of(options.type);
  }

  io::AtomicDirectory output(directory);
  ValueMaker values(config, options.type, options.seed);
  Json weight_map = Json::object();
  std::uint64_t done = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_name(i, shards.size());
    const std::unique_ptr<io::WritableFile> file = io::FileSystem::real().create(output.path() / name);
    io::SafetensorsWriter writer(*file, {{"format", "pt"}});
    for (const Recipe& recipe : shards[i]) writer.declare(recipe.tensor.name, options.type, recipe.tensor.shape);
    writer.begin();
    for (const Recipe& recipe : shards[i]) {
      weight_map[recipe.tensor.name] = name;
      const std::uint64_t elements = recipe.elements();
      for (std::uint64_t first = 0; first < elements; first += kChunk) {
        throw_if_interrupted();
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(kChunk, elements - first));
        writer.append(recipe.tensor.name, values.make(recipe, first, count));
        done += count * size_of(options.type);
        if (progress) progress(done, total);
      }
    }
    writer.finish();
    file->close();
  }
  if (shards.size() > 1) {
    const Json index{{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
    write_text(output, "model.safetensors.index.json", index.dump(2) + "\n");
  }
  write_text(output, "config.json", to_json(config, options.type));
  write_text(output, "generation_config.json", generation_json(config));
  if (options.tokenizer) write_text(output, "spiece.model", tokenizer);
  output.commit();
}

}  // namespace flame::model
