#include "flame/model/weights.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <span>
#include <unordered_set>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/large_pages.h"
#include "flame/base/memory_usage.h"
#include "flame/base/thread_pool.h"
#include "flame/io/tensor_file.h"

namespace flame::model {
namespace {

constexpr std::size_t kMostNamesInMessage = 10;
constexpr std::size_t kConversionGrain = std::size_t{1} << 16;  // elements a thread takes at a time
constexpr std::size_t kAlignment = 64;                          // of converted copies: a cache line

bool is_float(DataType type) {
  return type == DataType::kF32 || type == DataType::kBF16 || type == DataType::kF16 || type == DataType::kF64;
}

template <typename T>
T load(const std::byte* bytes, std::size_t index) {
  T value;
  std::memcpy(&value, bytes + index * sizeof(T), sizeof(T));
  return value;
}

float element(DataType type, const std::byte* bytes, std::size_t index) {
  switch (type) {
    case DataType::kBF16:
      return BFloat16{load<std::uint16_t>(bytes, index)}.to_float();
    case DataType::kF16:
      return Float16{load<std::uint16_t>(bytes, index)}.to_float();
    case DataType::kF64:
      return static_cast<float>(load<double>(bytes, index));
    default:
      return load<float>(bytes, index);
  }
}

void store(DataType type, std::byte* bytes, std::size_t index, float value) {
  if (type == DataType::kF32) {
    std::memcpy(bytes + index * sizeof(float), &value, sizeof(float));
    return;
  }
  const std::uint16_t bits =
      type == DataType::kBF16 ? BFloat16::from_float(value).bits : Float16::from_float(value).bits;
  std::memcpy(bytes + index * sizeof(bits), &bits, sizeof(bits));
}

// Whether element `index` is NaN or infinite: an exponent of all ones.
bool is_unusable(DataType type, const std::byte* bytes, std::size_t index) {
  switch (type) {
    case DataType::kBF16:
      return (load<std::uint16_t>(bytes, index) & 0x7f80U) == 0x7f80U;
    case DataType::kF16:
      return (load<std::uint16_t>(bytes, index) & 0x7c00U) == 0x7c00U;
    case DataType::kF64:
      return (load<std::uint64_t>(bytes, index) & 0x7ff0000000000000U) == 0x7ff0000000000000U;
    default:
      return (load<std::uint32_t>(bytes, index) & 0x7f800000U) == 0x7f800000U;
  }
}

// The same for a whole range, in a form that the compiler makes vector code of.
template <typename Bits, Bits kExponent>
bool any_unusable(const std::byte* bytes, std::size_t begin, std::size_t end) {
  unsigned found = 0;
  for (std::size_t i = begin; i < end; ++i) {
    found |= static_cast<unsigned>((load<Bits>(bytes, i) & kExponent) == kExponent);
  }
  return found != 0;
}

bool any_unusable(DataType type, const std::byte* bytes, std::size_t begin, std::size_t end) {
  switch (type) {
    case DataType::kBF16:
      return any_unusable<std::uint16_t, 0x7f80U>(bytes, begin, end);
    case DataType::kF16:
      return any_unusable<std::uint16_t, 0x7c00U>(bytes, begin, end);
    case DataType::kF64:
      return any_unusable<std::uint64_t, 0x7ff0000000000000U>(bytes, begin, end);
    default:
      return any_unusable<std::uint32_t, 0x7f800000U>(bytes, begin, end);
  }
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kMostNamesInMessage); ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kMostNamesInMessage) {
    text += ", and " + std::to_string(names.size() - kMostNamesInMessage) + " more";
  }
  return text;
}

void check_type(const WeightOptions& options) {
  if (!options.type || (is_float(*options.type) && *options.type != DataType::kF64)) return;
  throw UsageError("weights can be held in f32, bf16 or f16, not in " + std::string(name_of(*options.type)));
}

// Finds out whether the checkpoint holds the tensors that the model needs, before anything is loaded.
class TensorCheck {
 public:
  explicit TensorCheck(const io::Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  void require(const NamedShape& wanted) {
    const io::TensorView* tensor = checkpoint_.find(wanted.name);
    if (tensor == nullptr) {
      missing_.push_back(wanted.name);
    } else {
      check_shape(*tensor, wanted);
    }
  }

  // A tensor that may be missing.
  bool has(const NamedShape& wanted) {
    const io::TensorView* tensor = checkpoint_.find(wanted.name);
    if (tensor != nullptr) check_shape(*tensor, wanted);
    return tensor != nullptr;
  }

  // `extra`: tensors that are not the model's. They do no harm, but may tell why others are missing.
  void throw_if_any(const std::vector<std::string>& extra = {}) const {
    std::string message;
    if (!missing_.empty()) message += "missing " + listed(missing_);
    if (!wrong_.empty()) message += (message.empty() ? "" : "; ") + listed(wrong_);
    if (message.empty()) return;
    if (!extra.empty()) message += "; and not part of the model: " + listed(extra);
    throw ModelError(checkpoint_.path().string() + ": not the model that its config.json describes: " + message);
  }

 private:
  void check_shape(const io::TensorView& tensor, const NamedShape& wanted) {
    if (tensor.shape == wanted.shape && is_float(tensor.type)) return;
    const std::string expected = is_float(tensor.type)
                                     ? io::describe(tensor.type, wanted.shape)
                                     : "F32, F16 or BF16" + io::describe(DataType::kF32, wanted.shape).substr(3);
    wrong_.push_back(wanted.name + " is " + io::describe(tensor) + ", expected " + expected);
  }

  const io::Checkpoint& checkpoint_;
  std::vector<std::string> missing_;
  std::vector<std::string> wrong_;
};

void require_finite(const io::Checkpoint& checkpoint, std::string_view name, const io::TensorView& tensor) {
  std::atomic<bool> found = false;
  ThreadPool::parallel_for(tensor.elements(), kConversionGrain, [&](std::size_t begin, std::size_t end) {
    if (any_unusable(tensor.type, tensor.bytes.data(), begin, end)) found = true;
  });
  if (!found) return;
  std::size_t index = 0;
  while (!is_unusable(tensor.type, tensor.bytes.data(), index)) ++index;
  const float value = element(tensor.type, tensor.bytes.data(), index);
  throw ModelError(checkpoint.file_of(name).string() + ": " + std::string(name) + " holds " +
                   (value != value ? "NaN" : "an infinity") + " (element " + std::to_string(index) + " of " +
                   std::to_string(tensor.elements()) + "): the checkpoint is damaged, or its training diverged");
}

bool is_expert_name(std::string_view name) { return name.find(".mlp.experts.expert_") != std::string_view::npos; }

// The type in which a matrix of stored type `stored` is held.
DataType held_type(DataType stored, const WeightOptions& options) {
  return options.type.value_or(stored == DataType::kF64 ? DataType::kF32 : stored);
}

// Brings tensors that have been checked into memory: the experts' or all others.
class Loader {
 public:
  /// `streamed` as in WeightMatrix; `head` is the output matrix.
  Loader(const io::Checkpoint& checkpoint, const WeightOptions& options, bool streamed, bool experts, std::string head,
         std::vector<std::shared_ptr<const void>>& copies)
      : checkpoint_(checkpoint), options_(options), streamed_(streamed), head_(std::move(head)), copies_(copies) {
    if (streamed && options.large_pages) make_arena(experts);
  }

  kernels::WeightMatrix matrix(std::string_view name) {
    const io::TensorView& tensor = checkpoint_.tensor(name);
    check_finite(name, tensor);
    const DataType type = held_type(tensor.type, options_);
    kernels::WeightMatrix matrix{type,
                                 tensor.bytes.data(),
                                 static_cast<std::size_t>(tensor.shape[0]),
                                 static_cast<std::size_t>(tensor.shape[1]),
                                 options_.type == DataType::kBF16,
                                 streamed_};
    if (tensor.type != type || (copies_step_weights_ && is_step_weight(name))) {
      matrix.data = convert(tensor, type);
      checkpoint_.release(name);
    }
    count(type, matrix.size_bytes());
    return matrix;
  }

  std::vector<float> vector(std::string_view name) {
    const io::TensorView& tensor = checkpoint_.tensor(name);
    check_finite(name, tensor);
    std::vector<float> values(tensor.elements());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = element(tensor.type, tensor.bytes.data(), i);
    bytes_ += values.size() * sizeof(float);
    return values;
  }

  Matrix<float> table(std::string_view name) {
    const io::TensorView& tensor = checkpoint_.tensor(name);
    const std::vector<float> values = vector(name);
    Matrix<float> matrix(static_cast<std::size_t>(tensor.shape[0]), static_cast<std::size_t>(tensor.shape[1]));
    std::ranges::copy(values, matrix.data());
    return matrix;
  }

  [[nodiscard]] std::size_t bytes() const { return bytes_; }

  // Types of the matrices, most bytes first.
  [[nodiscard]] std::string types() const {
    std::vector<std::pair<std::size_t, DataType>> sorted;
    for (const auto& [type, size] : bytes_of_type_) sorted.emplace_back(size, type);
    std::ranges::sort(sorted, [](const auto& a, const auto& b) { return a.first > b.first; });
    std::string text;
    for (const auto& [size, type] : sorted) {
      std::string name(name_of(type));
      std::ranges::transform(name, name.begin(),
                             [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
      text += (text.empty() ? "" : " + ") + name;
    }
    return text;
  }

 private:
  void count(DataType type, std::size_t size) {
    bytes_ += size;
    bytes_of_type_[type] += size;
  }

  // Read for every token.
  [[nodiscard]] bool is_step_weight(std::string_view name) const {
    return name.starts_with(name_of(Stack::kDecoder)) || name == head_;
  }

  // Room on large pages for all copies that there will be. Without it they get memory one by one.
  void make_arena(bool experts) {
    std::size_t converted = 0;
    std::size_t copied = 0;
    for (const std::string& name : checkpoint_.names()) {
      const io::TensorView& tensor = checkpoint_.tensor(name);
      if (is_expert_name(name) != experts || tensor.shape.size() != 2) continue;
      const DataType type = held_type(tensor.type, options_);
      const std::size_t size = tensor.elements() * size_of(type) + kAlignment;
      if (tensor.type != type) {
        converted += size;
      } else if (is_step_weight(name)) {
        copied += size;
      }
    }
    copies_step_weights_ = copied <= available_memory() / 2;
    try {
      auto memory = std::make_shared<const LargePageMemory>(converted + (copies_step_weights_ ? copied : 0));
      arena_ = memory->bytes();
      copies_.push_back(std::move(memory));
    } catch (const std::bad_alloc&) {
      copies_step_weights_ = false;
    }
  }

  // Memory for a copy, beginning at a cache line.
  std::byte* place(std::size_t size) {
    if (size + kAlignment <= arena_.size()) {
      std::byte* const begin = arena_.data();
      arena_ = arena_.subspan((size + kAlignment - 1) / kAlignment * kAlignment);
      return begin;
    }
    auto owner = std::make_shared_for_overwrite<std::byte[]>(size + kAlignment);
    void* start = owner.get();
    std::size_t space = size + kAlignment;
    auto* const begin = static_cast<std::byte*>(std::align(kAlignment, size, start, space));
    copies_.push_back(std::move(owner));
    return begin;
  }

  // A copy in `type`.
  const std::byte* convert(const io::TensorView& tensor, DataType type) {
    const std::size_t elements = tensor.elements();
    std::byte* const target = place(elements * size_of(type));
    ThreadPool::parallel_for(elements, kConversionGrain, [&](std::size_t begin, std::size_t end) {
      if (tensor.type == type) {
        const std::size_t size = size_of(type);
        std::memcpy(target + begin * size, tensor.bytes.data() + begin * size, (end - begin) * size);
        return;
      }
      for (std::size_t i = begin; i < end; ++i) store(type, target, i, element(tensor.type, tensor.bytes.data(), i));
    });
    return target;
  }

  void check_finite(std::string_view name, const io::TensorView& tensor) const {
    if (options_.check_finite) require_finite(checkpoint_, name, tensor);
  }

  const io::Checkpoint& checkpoint_;
  const WeightOptions& options_;
  const bool streamed_;
  const std::string head_;
  std::vector<std::shared_ptr<const void>>& copies_;
  bool copies_step_weights_ = false;
  std::span<std::byte> arena_;  // what is left of it
  std::size_t bytes_ = 0;
  std::map<DataType, std::size_t> bytes_of_type_;
};

FeedForwardWeights load_feed_forward(Loader& loader, const std::string& prefix, Gating gating) {
  FeedForwardWeights weights;
  if (gating == Gating::kGated) {
    weights.wi = loader.matrix(prefix + ".wi_0.weight");
    weights.gate = loader.matrix(prefix + ".wi_1.weight");
  } else {
    weights.wi = loader.matrix(prefix + ".wi.weight");
  }
  weights.wo = loader.matrix(prefix + ".wo.weight");
  return weights;
}

AttentionWeights load_attention(Loader& loader, const std::string& prefix) {
  return {.q = loader.matrix(prefix + ".q.weight"),
          .k = loader.matrix(prefix + ".k.weight"),
          .v = loader.matrix(prefix + ".v.weight"),
          .o = loader.matrix(prefix + ".o.weight")};
}

BlockWeights load_block(Loader& loader, const SwitchConfig& config, Gating gating, Stack stack, std::uint32_t index) {
  const auto name = [&](std::string_view rest) { return block_tensor_name(stack, index, rest); };
  BlockWeights block;
  block.self_norm = loader.vector(name("layer.0.layer_norm.weight"));
  block.self_attention = load_attention(loader, name("layer.0.SelfAttention"));
  if (stack == Stack::kDecoder) {
    block.cross_norm = loader.vector(name("layer.1.layer_norm.weight"));
    block.cross_attention = load_attention(loader, name("layer.1.EncDecAttention"));
  }
  const std::string layer = name(feed_forward_layer(stack));
  block.feed_forward_norm = loader.vector(layer + ".layer_norm.weight");
  if (!config.is_sparse(stack, index)) {
    block.feed_forward = load_feed_forward(loader, layer + ".mlp", gating);
    return block;
  }
  block.router.emplace();
  block.router->classifier = loader.table(layer + ".mlp.router.classifier.weight");
  if (config.router_bias) block.router->bias = loader.vector(layer + ".mlp.router.classifier.bias");
  return block;
}

StackWeights load_stack(Loader& loader, const SwitchConfig& config, Gating gating, Stack stack) {
  StackWeights weights;
  for (std::uint32_t block = 0; block < config.layers(stack); ++block) {
    weights.blocks.push_back(load_block(loader, config, gating, stack, block));
  }
  weights.relative_bias =
      loader.table(block_tensor_name(stack, 0, "layer.0.SelfAttention.relative_attention_bias.weight"));
  weights.final_norm = loader.vector(std::string(name_of(stack)) + ".final_layer_norm.weight");
  return weights;
}

bool same_values(const io::TensorView& a, const io::TensorView& b) {
  if (a.type == b.type) {
    return a.bytes.data() == b.bytes.data() || std::memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()) == 0;
  }
  for (std::size_t i = 0; i < a.elements(); ++i) {
    if (element(a.type, a.bytes.data(), i) != element(b.type, b.bytes.data(), i)) return false;
  }
  return true;
}

// Which tensors stand for the encoder's embedding, the decoder's and the head.
struct EmbeddingNames {
  std::string encoder;
  std::string decoder;
  std::string head;
};

// transformers' rules. Tied: the first that is there of shared, the encoder's, the decoder's and the head is all of
// them, but one that is there with other values keeps them. Untied: each is its own, and `shared` is not used;
// checkpoints of transformers 4 left the encoder's and decoder's out all the same, and mean `shared` (transformers 5
// makes random ones).
EmbeddingNames choose_embeddings(const io::Checkpoint& checkpoint, const SwitchConfig& config, TensorCheck& check,
                                 const std::vector<std::string>& extra, std::vector<std::string>& warnings) {
  const std::vector<std::uint64_t> shape{config.vocab_size, config.d_model};
  std::vector<std::string> present;
  for (const std::string_view name : {kSharedEmbedding, kEncoderEmbedding, kDecoderEmbedding, kHead}) {
    if (check.has({std::string(name), shape})) present.emplace_back(name);
  }
  const auto has = [&](std::string_view name) { return std::ranges::find(present, name) != present.end(); };
  if (present.empty()) {
    check.require({std::string(kSharedEmbedding), shape});
    return {};
  }
  check.throw_if_any(extra);  // wrong shapes cannot be compared
  if (!config.tie_word_embeddings) {
    check.require({std::string(kHead), shape});
    const auto own = [&](std::string_view name) {
      if (has(name)) return std::string(name);
      const std::string stand_in = has(kSharedEmbedding)    ? std::string(kSharedEmbedding)
                                   : has(kEncoderEmbedding) ? std::string(kEncoderEmbedding)
                                                            : std::string(kDecoderEmbedding);
      check.require({stand_in, shape});
      warnings.push_back(std::string(name) + " is not in the checkpoint: using " + stand_in);
      return stand_in;
    };
    return {own(kEncoderEmbedding), own(kDecoderEmbedding), std::string(kHead)};
  }
  const std::string source = present.front();
  const auto tied = [&](std::string_view name) {
    if (!has(name) || name == source) return source;
    if (same_values(checkpoint.tensor(source), checkpoint.tensor(name))) return source;
    warnings.push_back(std::string(name) + " differs from " + source +
                       " although tie_word_embeddings is true: using it as it is");
    return std::string(name);
  };
  return {tied(kEncoderEmbedding), tied(kDecoderEmbedding), tied(kHead)};
}

void load_embeddings(Loader& loader, const EmbeddingNames& names, DenseWeights& weights) {
  weights.encoder_embedding = loader.matrix(names.encoder);
  weights.decoder_embedding = names.decoder == names.encoder ? weights.encoder_embedding : loader.matrix(names.decoder);
  weights.head = names.head == names.encoder   ? weights.encoder_embedding
                 : names.head == names.decoder ? weights.decoder_embedding
                                               : loader.matrix(names.head);
}

// Bytes of weights that the decoder reads for a token: by the next token, caches that hold less have forgotten them.
std::uint64_t step_bytes(const io::Checkpoint& checkpoint, const SwitchConfig& config, Gating gating,
                         const WeightOptions& options) {
  std::uint64_t stored = 0;
  std::uint64_t of_experts = 0;
  const auto bytes_of = [&](const NamedShape& wanted) -> std::uint64_t {
    const io::TensorView* tensor = checkpoint.find(wanted.name);
    return tensor == nullptr ? 0 : tensor->elements() * size_of(options.type.value_or(tensor->type));
  };
  for (const NamedShape& tensor : dense_tensors(config, gating)) {
    if (tensor.name.starts_with(name_of(Stack::kDecoder))) stored += bytes_of(tensor);
  }
  for (const NamedShape& tensor : expert_tensors(config, gating)) {
    if (tensor.name.starts_with(name_of(Stack::kDecoder))) of_experts += bytes_of(tensor);
  }
  const std::uint64_t head =
      std::uint64_t{config.vocab_size} * config.d_model * size_of(options.type.value_or(DataType::kBF16));
  return stored + of_experts / std::max<std::uint64_t>(config.num_experts, 1) + head;
}

bool is_streamed(const io::Checkpoint& checkpoint, const SwitchConfig& config, Gating gating,
                 const WeightOptions& options) {
  return step_bytes(checkpoint, config, gating, options) > options.cache_bytes;
}

std::vector<std::string> extra_tensors(const io::Checkpoint& checkpoint, const std::vector<NamedShape>& dense,
                                       const std::vector<NamedShape>& experts) {
  std::unordered_set<std::string_view> known{kSharedEmbedding, kEncoderEmbedding, kDecoderEmbedding, kHead};
  for (const auto* list : {&dense, &experts}) {
    for (const NamedShape& tensor : *list) known.insert(tensor.name);
  }
  std::vector<std::string> extra;
  for (const std::string& name : checkpoint.names()) {
    const bool is_filler = name.starts_with("__padding__.");  // of SafetensorsWriter
    if (!known.contains(name) && !is_filler) extra.push_back(name);
  }
  return extra;
}

}  // namespace

Gating find_gating(const io::Checkpoint& checkpoint) {
  std::string plain;
  std::string gated;
  for (const std::string& name : checkpoint.names()) {
    if (name.ends_with(".wi.weight")) plain = name;
    if (name.ends_with(".wi_0.weight")) gated = name;
  }
  if (!plain.empty() && !gated.empty()) {
    throw ModelError(checkpoint.path().string() + ": has feed-forward layers without a gate (" + plain +
                     ") and with one (" + gated + "); FLAME runs models of one kind");
  }
  return gated.empty() ? Gating::kPlain : Gating::kGated;
}

DenseWeights load_dense_weights(std::shared_ptr<const io::Checkpoint> checkpoint, const SwitchConfig& config,
                                const WeightOptions& options) {
  check_type(options);
  DenseWeights weights;
  weights.source = checkpoint;
  weights.gating = find_gating(*checkpoint);
  if (options.type == DataType::kBF16) weights.key_value_type = DataType::kBF16;
  weights.activation = weights.gating == Gating::kGated ? config.gated_activation : config.activation;

  TensorCheck check(*checkpoint);
  const std::vector<NamedShape> dense = dense_tensors(config, weights.gating);
  const std::vector<NamedShape> experts = expert_tensors(config, weights.gating);
  for (const NamedShape& tensor : dense) check.require(tensor);
  // A bundle's model.safetensors has no expert at all.
  if (std::ranges::any_of(checkpoint->names(), is_expert_name)) {
    for (const NamedShape& tensor : experts) check.require(tensor);
  }
  const std::vector<std::string> extra = extra_tensors(*checkpoint, dense, experts);
  const EmbeddingNames embeddings = choose_embeddings(*checkpoint, config, check, extra, weights.warnings);
  check.throw_if_any(extra);
  if (!extra.empty()) weights.warnings.push_back("not part of the model, ignored: " + listed(extra));

  Loader loader(*checkpoint, options, is_streamed(*checkpoint, config, weights.gating, options), false, embeddings.head,
                weights.copies);
  load_embeddings(loader, embeddings, weights);
  weights.encoder = load_stack(loader, config, weights.gating, Stack::kEncoder);
  weights.decoder = load_stack(loader, config, weights.gating, Stack::kDecoder);
  weights.bytes = loader.bytes();
  weights.types = loader.types();
  return weights;
}

ExpertWeights load_expert_weights(std::shared_ptr<const io::Checkpoint> checkpoint, const SwitchConfig& config,
                                  const WeightOptions& options) {
  check_type(options);
  ExpertWeights weights;
  weights.source = checkpoint;
  const Gating gating = find_gating(*checkpoint);
  TensorCheck check(*checkpoint);
  for (const NamedShape& tensor : expert_tensors(config, gating)) check.require(tensor);
  check.throw_if_any();

  Loader loader(*checkpoint, options, is_streamed(*checkpoint, config, gating, options), true, {}, weights.copies);
  for (const Stack stack : {Stack::kEncoder, Stack::kDecoder}) {
    auto& layers = stack == Stack::kEncoder ? weights.encoder : weights.decoder;
    layers.resize(config.moe_layers(stack));
    for (std::uint32_t layer = 0; layer < layers.size(); ++layer) {
      for (std::uint32_t expert = 0; expert < config.num_experts; ++expert) {
        std::string prefix = expert_tensor_name(config, {stack, layer}, expert, "wo");
        prefix.resize(prefix.size() - std::string_view(".wo.weight").size());
        layers[layer].push_back(load_feed_forward(loader, prefix, gating));
      }
    }
  }
  weights.bytes = loader.bytes();
  weights.types = loader.types();
  return weights;
}

const std::vector<FeedForwardWeights>& ExpertWeights::layer(MoeLayer layer) const {
  return layer.stack == Stack::kEncoder ? encoder[layer.index] : decoder[layer.index];
}

void require_finite(const io::Checkpoint& checkpoint, std::string_view name) {
  require_finite(checkpoint, name, checkpoint.tensor(name));
}

}  // namespace flame::model
