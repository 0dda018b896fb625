#include "flame/engine/engine.h"

#include <fmt/format.h>

#include <future>
#include <nlohmann/json.hpp>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/base/thread_pool.h"
#include "flame/experts/buffered_device.h"
#include "flame/experts/bundle.h"
#include "flame/experts/mapped_device.h"
#include "flame/experts/resident_device.h"
#include "flame/io/checkpoint.h"
#include "flame/io/file.h"
#include "flame/kernels/gemm.h"
#include "flame/kernels/target.h"
#include "flame/model/weights.h"

namespace flame::engine {
namespace {

constexpr std::size_t kUsualLongestInput = 512;
// Hugging Face writes 1e30 or so for "no limit".
constexpr double kNoLimit = 1e9;

// Embeddings are padded by less than this; a tokenizer that lacks more has been cut off, or is another model's.
constexpr std::size_t kVocabularyPadding = 512;

/// Throws ModelError for a tokenizer with ids that the model does not have; warns of one that lacks many.
void check_vocabulary(const text::Tokenizer& tokenizer, const model::SwitchConfig& config,
                      const std::filesystem::path& model, std::vector<std::string>& warnings) {
  if (tokenizer.size() > config.vocab_size) {
    throw ModelError(fmt::format("{}: the tokenizer has {} ids and the model {}: it is another model's", model.string(),
                                 tokenizer.size(), config.vocab_size));
  }
  if (tokenizer.size() + kVocabularyPadding <= config.vocab_size) {
    warnings.push_back(
        fmt::format("{}: the tokenizer has {} ids and the model {}: it has been cut off, or is another "
                    "model's",
                    model.string(), tokenizer.size(), config.vocab_size));
  }
}

std::size_t read_longest_input(const std::filesystem::path& model) {
  const std::filesystem::path path = model / "tokenizer_config.json";
  if (!io::FileSystem::real().exists(path)) return kUsualLongestInput;
  const Json document = parse_json(io::read_file(path), path);
  const std::optional<JsonView> limit = JsonView(document, path).find("model_max_length");
  if (!limit) return kUsualLongestInput;
  const double value = limit->as_number(1.0);
  return value < kNoLimit ? static_cast<std::size_t>(value) : kUsualLongestInput;
}

}  // namespace

struct Engine::Parts {
  std::filesystem::path path;
  model::SwitchConfig config;
  std::optional<text::Tokenizer> tokenizer;
  std::string tokenizer_failure;
  std::size_t longest_input = kUsualLongestInput;
  model::DenseWeights dense;
  std::uint64_t expert_bytes = 0;
  std::unique_ptr<model::MoeDevice> device;
  std::unique_ptr<model::Generator> generator;
};

Engine::Engine(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;

Engine Engine::open(const std::filesystem::path& model, const EngineOptions& options) {
  if (!io::FileSystem::real().exists(model)) throw FileError(model, "there is no such model directory");
  ThreadPool::set_threads(options.threads);

  // While weights are read: the first prompt's encoder would wait for it.
  const std::future<void> prepared = std::async(std::launch::async, kernels::prepare_gemm);
  auto parts = std::make_unique<Parts>();
  parts->path = model;
  parts->config = model::load_config(model);
  const auto checkpoint = std::make_shared<const io::Checkpoint>(io::Checkpoint::open(model));
  const model::WeightOptions weight_options{
      .type = options.type, .check_finite = options.check_finite, .large_pages = true};
  parts->dense = model::load_dense_weights(checkpoint, parts->config, weight_options);
  if (options.make_device) {
    parts->device = options.make_device(parts->config, parts->dense);
  } else if (experts::Bundle::is_bundle(model)) {
    if (options.type) {
      throw UsageError(fmt::format("{}: the weights of a bundle are held as they were packed", model.string()));
    }
    std::shared_ptr<const experts::Bundle> bundle = options.bundle;
    if (bundle == nullptr) bundle = std::make_shared<const experts::Bundle>(experts::Bundle::open(model));
    if (options.buffer.mapped) {
      parts->device =
          std::make_unique<experts::MappedDevice>(std::move(bundle), parts->dense, options.buffer.timeout_seconds);
    } else {
      auto device = experts::open_buffered_device(std::move(bundle), parts->dense, options.buffer);
      parts->expert_bytes = device->slot_memory_bytes();
      parts->device = std::move(device);
    }
  } else {
    model::ExpertWeights experts = model::load_expert_weights(checkpoint, parts->config, weight_options);
    parts->expert_bytes = experts.bytes;
    parts->device = std::make_unique<experts::ResidentDevice>(parts->config, parts->dense, std::move(experts));
  }
  if (options.decorate) parts->device = options.decorate(std::move(parts->device));
  parts->generator = std::make_unique<model::Generator>(parts->config, parts->dense, *parts->device);

  try {
    parts->tokenizer = text::Tokenizer::open(model);
  } catch (const ModelError& error) {
    // A synthetic checkpoint has no tokenizer and runs on ids; whoever needs text gets this message.
    parts->tokenizer_failure = error.what();
  }
  if (parts->tokenizer) check_vocabulary(*parts->tokenizer, parts->config, model, parts->dense.warnings);
  parts->longest_input = read_longest_input(model);
  return Engine(std::move(parts));
}

const std::filesystem::path& Engine::path() const { return parts_->path; }

const model::SwitchConfig& Engine::config() const { return parts_->config; }

const text::Tokenizer* Engine::tokenizer() const { return parts_->tokenizer ? &*parts_->tokenizer : nullptr; }

const text::Tokenizer& Engine::require_tokenizer() const {
  if (!parts_->tokenizer) throw ModelError(parts_->tokenizer_failure);
  return *parts_->tokenizer;
}

model::GenerationDefaults Engine::generation_defaults(const std::optional<std::string>& task) const {
  return model::load_generation_defaults(parts_->path, parts_->config, task);
}

std::size_t Engine::longest_input() const { return parts_->longest_input; }

model::Generator& Engine::generator() { return *parts_->generator; }

const model::DenseWeights& Engine::dense_weights() const { return parts_->dense; }

model::MoeDevice& Engine::device() { return *parts_->device; }

const model::MoeDevice& Engine::device() const { return *parts_->device; }

std::uint64_t Engine::weight_bytes() const { return parts_->dense.bytes + parts_->expert_bytes; }

const std::vector<std::string>& Engine::warnings() const { return parts_->dense.warnings; }

std::string Engine::describe() const {
  std::string dense = parts_->dense.types;
  if (parts_->dense.key_value_type == DataType::kBF16) {
    dense += kernels::has_bf16_products() ? ", keys, values and inputs of many tokens bf16" : ", keys and values bf16";
  }
  return fmt::format("{}; dense weights {}; {} threads; {}", parts_->device->describe(), dense, ThreadPool::threads(),
                     kernels::instruction_set());
}

}  // namespace flame::engine
