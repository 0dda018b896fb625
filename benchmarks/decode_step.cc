// Where the time of one decoded token goes: decoding as it is, its weights alone, its attention over the prompt alone,
// and plain reading of the same bytes, in turns. `decode_step MODEL` prints a table, with --json one object.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "flame/base/error.h"
#include "flame/base/function_ref.h"
#include "flame/base/large_pages.h"
#include "flame/base/random.h"
#include "flame/base/thread_pool.h"
#include "flame/engine/engine.h"
#include "flame/kernels/attention.h"
#include "flame/kernels/linear.h"
#include "flame/kernels/vector_ops.h"
#include "flame/model/weights.h"
#include "read_bandwidth.h"

namespace flame::bench {
namespace {

constexpr std::size_t kPromptTokens = 512;
constexpr std::size_t kNewTokens = 32;
constexpr int kRepeats = 5;  // of each part in a round

// The matrices of one decoder step in order; of the experts of a layer one, another in each layer.
std::vector<kernels::WeightMatrix> step_weights(const model::DenseWeights& dense, const model::ExpertWeights& experts) {
  std::vector<kernels::WeightMatrix> weights;
  std::size_t layer = 0;
  for (const model::BlockWeights& block : dense.decoder.blocks) {
    for (const auto* attention : {&block.self_attention, &block.cross_attention}) {
      weights.push_back(attention->q);
      if (attention == &block.self_attention) weights.insert(weights.end(), {attention->k, attention->v});
      weights.push_back(attention->o);
    }
    const std::vector<model::FeedForwardWeights>* const of_layer = block.router ? &experts.decoder[layer] : nullptr;
    const model::FeedForwardWeights& network = of_layer ? (*of_layer)[layer % of_layer->size()] : *block.feed_forward;
    if (block.router) ++layer;
    weights.push_back(network.wi);
    if (network.gated()) weights.push_back(network.gate);
    weights.push_back(network.wo);
  }
  weights.push_back(dense.head);
  return weights;
}

class DecodeStep {
 public:
  explicit DecodeStep(const std::string& path) : engine_(engine::Engine::open(path, options())) {
    const model::WeightOptions weight_options{.type = DataType::kBF16, .check_finite = false, .large_pages = true};
    const auto checkpoint = std::make_shared<const io::Checkpoint>(io::Checkpoint::open(path));
    experts_ = model::load_expert_weights(checkpoint, engine_.config(), weight_options);
    weights_ = step_weights(engine_.dense_weights(), experts_);
    for (const kernels::WeightMatrix& weight : weights_) weight_bytes_ += weight.size_bytes();
    const std::size_t inner = engine_.config().inner_dim();
    cache_bytes_ = engine_.config().num_decoder_layers * 2 * kPromptTokens * inner * size_of(DataType::kBF16);
    read_.emplace(weight_bytes_ + cache_bytes_);
    cache_ = LargePageMemory(cache_bytes_);
    Random random(1, 0);
    for (std::size_t i = 0; i < cache_bytes_; i += sizeof(BFloat16)) {
      const BFloat16 value = BFloat16::from_float(static_cast<float>(random.next_uniform()) - 0.5F);
      std::memcpy(cache_.bytes().data() + i, &value, sizeof(value));
    }
    input_.assign(std::max<std::size_t>(engine_.config().d_ff, inner), 0.5F);
    output_.resize(std::max<std::size_t>(engine_.config().vocab_size, engine_.config().d_ff));
    for (std::size_t i = 0; i < kPromptTokens; ++i) {
      prompt_.push_back(static_cast<std::int32_t>(2 + random.next_below(engine_.config().vocab_size - 2)));
    }
  }

  void round() {
    model::GenerationOptions generation = engine_.generation_defaults({}).options;
    generation.num_beams = 1;
    generation.max_new_tokens = kNewTokens;
    generation.min_new_tokens = kNewTokens;
    static_cast<void>(engine_.generator().generate({&prompt_, 1}, generation));
    seconds_["step"].push_back(engine_.generator().statistics().decoder_seconds / kNewTokens);
    time("weights", [&] { multiply_weights(); });
    time("weights and attention", [&] {
      multiply_weights();
      attend();
    });
    time("reading", [&] { static_cast<void>(measure_read_bandwidth(*read_)); });
  }

  [[nodiscard]] std::size_t bytes() const { return weight_bytes_ + cache_bytes_; }
  [[nodiscard]] double seconds(const std::string& part) const { return median(seconds_.at(part)); }

 private:
  static engine::EngineOptions options() {
    engine::EngineOptions made;
    made.type = DataType::kBF16;
    return made;
  }

  void time(const std::string& part, FunctionRef<void()> work) {
    work();
    for (int i = 0; i < kRepeats; ++i) {
      const auto start = std::chrono::steady_clock::now();
      work();
      seconds_[part].push_back(seconds_since(start));
    }
  }

  void multiply_weights() {
    for (const kernels::WeightMatrix& weight : weights_) {
      kernels::linear(weight, {input_.data(), 1, weight.columns}, {output_.data(), 1, weight.rows});
    }
  }

  void attend() {
    const model::SwitchConfig& config = engine_.config();
    const std::size_t part = kPromptTokens * config.inner_dim() * size_of(DataType::kBF16);
    for (std::size_t layer = 0; layer < config.num_decoder_layers; ++layer) {
      kernels::AttentionInput input;
      input.heads = config.num_heads;
      input.head_size = config.d_kv;
      input.query = {input_.data(), 1, config.inner_dim()};
      input.keys = {.type = DataType::kBF16,
                    .data = cache_.bytes().data() + 2 * layer * part,
                    .length = kPromptTokens,
                    .stride = config.d_kv,
                    .head_stride = kPromptTokens * config.d_kv};
      input.values = input.keys;
      input.values.data += part;
      kernels::attend(input, {output_.data(), 1, config.inner_dim()});
    }
  }

  engine::Engine engine_;
  model::ExpertWeights experts_;
  std::vector<kernels::WeightMatrix> weights_;
  std::size_t weight_bytes_ = 0;
  std::size_t cache_bytes_ = 0;
  std::optional<Buffer> read_;  // as many bytes as a step reads
  LargePageMemory cache_;       // keys and values of a prompt
  std::vector<float> input_;
  std::vector<float> output_;
  std::vector<std::int32_t> prompt_;
  std::map<std::string, std::vector<double>> seconds_;
};

int run(const std::string& model, int rounds, bool json) {
  DecodeStep step(model);
  for (int i = 0; i < rounds; ++i) step.round();
  const double bytes = static_cast<double>(step.bytes());
  const double reading = step.seconds("reading");
  if (json) {
    const nlohmann::json object{
        {"bytes", step.bytes()}, {"read_bytes_per_second", bytes / reading}, {"step_seconds", step.seconds("step")}};
    std::printf("%s\n", object.dump().c_str());
    return 0;
  }
  std::printf("%zu tokens in, batch 1, bf16, %zu threads, medians of %d rounds\n", kPromptTokens, ThreadPool::threads(),
              rounds);
  std::printf("%-52s %8.1f MB\n", "bytes of weights, keys and values a step reads", bytes * 1e-6);
  std::printf("%-52s %8.2f ms  %5.1f GB/s\n", "plain reading of as many", reading * 1e3, bytes / reading * 1e-9);
  const double weights = step.seconds("weights");
  const double attention = step.seconds("weights and attention") - weights;
  std::printf("%-52s %8.2f ms\n", "the weights, linear() one after the other", weights * 1e3);
  std::printf("%-52s %8.2f ms\n", "attention over the prompt after them", attention * 1e3);
  std::printf("%-52s %8.2f ms  %5.1f tokens/s, %.2f of what reading allows\n", "a step of decoding",
              step.seconds("step") * 1e3, 1.0 / step.seconds("step"), reading / step.seconds("step"));
  return 0;
}

}  // namespace
}  // namespace flame::bench

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: decode_step MODEL [ROUNDS] [--json]\n");
    return 2;
  }
  const bool json = std::strcmp(argv[argc - 1], "--json") == 0;
  try {
    return flame::bench::run(argv[1], argc > 2 ? std::max(1, std::atoi(argv[2])) : 5, json);
  } catch (const flame::Error& error) {
    std::fprintf(stderr, "decode_step: %s\n", error.what());
    return error.exit_code();
  }
}
