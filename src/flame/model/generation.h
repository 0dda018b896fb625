#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "flame/model/config.h"
#include "flame/model/generation_config.h"
#include "flame/model/moe_device.h"
#include "flame/model/weights.h"

namespace flame::model {

/// One output of one input.
struct GeneratedSequence {
  std::vector<std::int32_t> tokens;  ///< after the start token; with the end token if it was generated
  std::optional<float> score;        ///< of beam search: sum of log probabilities / length ^ length_penalty
};

/// What one input gave: num_return_sequences sequences, the best first.
struct GenerationResult {
  std::vector<GeneratedSequence> sequences;
};

struct GenerationStatistics {
  double encoder_seconds = 0.0;
  double decoder_seconds = 0.0;
  double first_token_seconds = 0.0;  ///< from the start to the first step's logits
  std::uint64_t input_tokens = 0;
  std::uint64_t output_tokens = 0;  ///< in the sequences returned; of inputs that are done, while others still run
  std::uint64_t decoder_steps = 0;
  std::uint64_t decoder_tokens = 0;  ///< rows of all decoder steps: every beam counts
};

/// All are optional and called on the thread that called generate().
struct GenerationCallbacks {
  /// Greedy and sampling with one sequence an input: token `token` of input `input` has been chosen.
  std::function<void(std::size_t input, std::int32_t token)> on_token;
  /// Input `input` is done, while others may still run. Called once an input, in the order in which they finish.
  std::function<void(std::size_t input, const GenerationResult& result)> on_result;
  /// Asked in the encoder and before every step; true ends generate() with Interrupted. What on_result has been
  /// given by then stands.
  std::function<bool()> interrupted;
};

/// Text generation with transformers' semantics (5.24: GenerationMixin._sample and ._beam_search). The result of an
/// input does not depend on the inputs that it shares a batch with. One thread drives a generator.
class Generator {
 public:
  /// All three must outlive the generator.
  Generator(const SwitchConfig& config, const DenseWeights& weights, MoeDevice& device);
  ~Generator();
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;

  /// Generates for every input (token ids, the end token included; none may be empty) as one batch. result[i] is that
  /// of inputs[i]. Throws UsageError for options or ids out of range, Interrupted when callbacks.interrupted says so,
  /// and whatever the device throws; after any of these the generator can be used again.
  std::vector<GenerationResult> generate(std::span<const std::vector<std::int32_t>> inputs,
                                         const GenerationOptions& options, const GenerationCallbacks& callbacks = {});

  /// Of the last generate(), also of one that threw; in callbacks, of the present one up to the last step.
  [[nodiscard]] const GenerationStatistics& statistics() const;

  /// Bytes of the caches of keys and values now held.
  [[nodiscard]] std::size_t cache_bytes() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace flame::model
