#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flame/model/generation_config.h"

namespace flame::model {

/// transformers' logits processors and sampling warpers, in its order, for one row at a time. Not thread-safe.
class LogitsProcessor {
 public:
  /// `options` must outlive this.
  LogitsProcessor(const GenerationOptions& options, std::size_t vocab_size);

  /// The constraints on what may come next: repetition penalty, repeated n-grams, bad words, minimum length, forced and
  /// suppressed tokens. `tokens`: the decoder's so far, start token included. `scores` [vocab]: logits, or log
  /// probabilities in beam search.
  void constrain(std::span<const std::int32_t> tokens, std::span<float> scores);

  /// Temperature, top-k and top-p; what is ruled out becomes minus infinity.
  void warp(std::span<float> scores);

 private:
  void penalise_repetition(std::span<const std::int32_t> tokens, std::span<float> scores);
  void forbid_repeated_ngrams(std::span<const std::int32_t> tokens, std::span<float> scores) const;
  void forbid_bad_words(std::span<const std::int32_t> tokens, std::span<float> scores) const;
  void keep_top_k(std::span<float> scores);
  void keep_top_p(std::span<float> scores);

  const GenerationOptions* options_;
  std::vector<std::vector<std::int32_t>> bad_words_;  // without those that are a single end token
  std::vector<std::uint8_t> seen_;                    // [vocab], when there is a repetition penalty
  std::vector<float> sorted_;                         // scratch of top-k
  std::vector<std::uint32_t> order_;                  // scratch of top-p
};

/// In place: log of the softmax of `logits`.
void log_softmax(std::span<float> logits);

}  // namespace flame::model
