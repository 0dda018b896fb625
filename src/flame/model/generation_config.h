#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "flame/io/file.h"
#include "flame/model/config.h"

namespace flame::model {

/// When a beam search ends (transformers' early_stopping).
enum class EarlyStopping : std::uint8_t {
  kFalse,  ///< when no running beam, at its present length, beats the worst finished one
  kTrue,   ///< as soon as num_beams sequences are finished
  kNever,  ///< when no running beam can beat the worst finished one at any length
};

/// How to generate; names and meanings are those of transformers' GenerationConfig. Lengths count decoder tokens, the
/// start token included where the name has no "new".
struct GenerationOptions {
  std::optional<std::size_t> max_length;      ///< neither given: 20 new tokens
  std::optional<std::size_t> max_new_tokens;  ///< wins over max_length
  std::size_t min_length = 0;
  std::optional<std::size_t> min_new_tokens;  ///< wins over min_length

  std::size_t num_beams = 1;
  std::size_t num_return_sequences = 1;  ///< at most num_beams, unless do_sample
  double length_penalty = 1.0;
  EarlyStopping early_stopping = EarlyStopping::kFalse;

  double repetition_penalty = 1.0;
  std::size_t no_repeat_ngram_size = 0;
  std::vector<std::vector<std::int32_t>> bad_words_ids;
  std::vector<std::int32_t> suppress_tokens;
  std::vector<std::int32_t> begin_suppress_tokens;
  std::optional<std::int32_t> forced_bos_token_id;
  std::vector<std::int32_t> forced_eos_token_ids;

  bool do_sample = false;  ///< with num_beams == 1 only
  double temperature = 1.0;
  std::size_t top_k = 50;  ///< 0: all
  double top_p = 1.0;
  std::uint64_t seed = 0;
  /// The number of each input of a call, which with the seed decides its random numbers: so they are the same whatever
  /// the batch. Empty: 0, 1, ….
  std::vector<std::uint64_t> input_numbers;

  std::int32_t decoder_start_token_id = 0;
  std::int32_t pad_token_id = 0;
  std::vector<std::int32_t> eos_token_ids = {1};

  /// The length a sequence may reach, start token included.
  [[nodiscard]] std::size_t length_limit() const;
  /// The length below which no end token is allowed, start token included.
  [[nodiscard]] std::size_t length_floor() const;
};

/// What a model directory says about generation.
struct GenerationDefaults {
  GenerationOptions options;
  std::string prefix;                 ///< of the task, for example "summarize: "
  std::vector<std::string> tasks;     ///< the names in task_specific_params
  std::vector<std::string> warnings;  ///< keys whose values would change the output, and that FLAME does not have
};

/// The defaults for a model: generation_config.json (without it, the generation keys of config.json, as transformers
/// does), then, when `task` is given, task_specific_params[task] of config.json over it. `model` may be a bare
/// config.json. Throws UsageError for an unknown task (the known ones are named), FormatError and ModelError for
/// values of wrong type or range.
[[nodiscard]] GenerationDefaults load_generation_defaults(const std::filesystem::path& model,
                                                          const SwitchConfig& config,
                                                          const std::optional<std::string>& task = std::nullopt,
                                                          io::FileSystem& files = io::FileSystem::real());

/// Throws UsageError for options that are out of range or exclude each other; `vocab_size` bounds the ids.
void check_options(const GenerationOptions& options, std::size_t vocab_size);

/// One message for every option that has no effect beside the others ("length_penalty has no effect without beam
/// search"), and for every end or suppressed token outside the vocabulary.
[[nodiscard]] std::vector<std::string> options_without_effect(const GenerationOptions& options, std::size_t vocab_size);

}  // namespace flame::model
