#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "flame/model/generation_config.h"

namespace flame::model {

/// What a caller wants otherwise than the model's own files say; nothing where it is not said.
struct GenerationOverrides {
  std::optional<std::size_t> max_new_tokens, min_new_tokens, max_length, min_length;
  std::optional<std::size_t> beams, returned;
  std::optional<double> length_penalty, repetition_penalty, temperature, top_p;
  std::optional<EarlyStopping> early_stopping;
  std::optional<std::size_t> no_repeat_ngram, top_k;
  std::optional<std::uint64_t> seed;
  std::optional<bool> sample;

  /// True when nothing is said.
  [[nodiscard]] bool empty() const;
};

/// Lays `wanted` over `defaults.options`. Sampling that is wished for sets the model's own beams back to 1, and beams,
/// or a wish for none of it, the model's own sampling, with a warning. Throws UsageError for wishes that exclude each
/// other or would have no effect (named as the command line names them), and as check_options does. Values of the
/// model's files that have no effect beside the wishes are left alone; those that have none with or without them are
/// warned of.
void apply(const GenerationOverrides& wanted, std::size_t vocab_size, GenerationDefaults& defaults);

}  // namespace flame::model
