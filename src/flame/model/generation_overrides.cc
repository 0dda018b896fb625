#include "flame/model/generation_overrides.h"

#include <fmt/format.h>

#include <algorithm>

#include "flame/base/error.h"

namespace flame::model {
namespace {

void apply_lengths(const GenerationOverrides& wanted, GenerationOptions& options) {
  if (wanted.max_new_tokens && wanted.max_length) {
    throw UsageError("--max-new-tokens and --max-length exclude each other");
  }
  if (wanted.min_new_tokens && wanted.min_length) {
    throw UsageError("--min-new-tokens and --min-length exclude each other");
  }
  if (wanted.max_new_tokens) options.max_new_tokens = wanted.max_new_tokens;
  if (wanted.max_length) {
    options.max_length = wanted.max_length;
    options.max_new_tokens.reset();
  }
  if (wanted.min_new_tokens) options.min_new_tokens = wanted.min_new_tokens;
  if (wanted.min_length) {
    options.min_length = *wanted.min_length;
    options.min_new_tokens.reset();
  }
}

void refuse_without_effect(const GenerationOverrides& wanted, const GenerationOptions& options) {
  if (!options.do_sample && (wanted.temperature || wanted.top_k || wanted.top_p || wanted.seed)) {
    throw UsageError("--temperature, --top-k, --top-p and --seed have no effect without --sample");
  }
  if (options.num_beams == 1 && (wanted.length_penalty || wanted.early_stopping)) {
    throw UsageError("--length-penalty and --early-stopping have no effect without --beams of 2 or more");
  }
}

/// A minimum above the maximum: wrong when the caller asked for it, worth a warning when the model's files share in it.
void check_lengths(const GenerationOverrides& wanted, GenerationDefaults& defaults) {
  const std::size_t floor = defaults.options.length_floor();
  const std::size_t limit = defaults.options.length_limit();
  if (floor <= limit) return;
  const std::string what =
      fmt::format("at least {} new tokens are asked for, and at most {} are allowed", floor - 1, limit - 1);
  if (wanted.min_new_tokens || wanted.min_length)
    throw UsageError(what + ": see --min-new-tokens and --max-new-tokens");
  defaults.warnings.push_back(what + ": the model's own minimum has no effect beyond that");
}

}  // namespace

bool GenerationOverrides::empty() const {
  return !(max_new_tokens || min_new_tokens || max_length || min_length || beams || returned || length_penalty ||
           repetition_penalty || temperature || top_p || early_stopping || no_repeat_ngram || top_k || seed || sample);
}

void apply(const GenerationOverrides& wanted, std::size_t vocab_size, GenerationDefaults& defaults) {
  GenerationOptions& options = defaults.options;
  const std::vector<std::string> without_effect = options_without_effect(options, vocab_size);
  apply_lengths(wanted, options);
  const auto set = [](const auto& wish, auto& option) {
    if (wish) option = *wish;
  };
  set(wanted.beams, options.num_beams);
  set(wanted.returned, options.num_return_sequences);
  set(wanted.length_penalty, options.length_penalty);
  set(wanted.early_stopping, options.early_stopping);
  set(wanted.no_repeat_ngram, options.no_repeat_ngram_size);
  set(wanted.repetition_penalty, options.repetition_penalty);
  set(wanted.temperature, options.temperature);
  set(wanted.top_k, options.top_k);
  set(wanted.top_p, options.top_p);
  set(wanted.seed, options.seed);
  set(wanted.sample, options.do_sample);
  if (options.do_sample && options.num_beams > 1) {
    if (!wanted.sample) {
      defaults.warnings.push_back(fmt::format(
          "{} beams draw nothing: the sampling that the model's files ask for is not used", options.num_beams));
      options.do_sample = false;
    } else if (!wanted.beams) {
      defaults.warnings.push_back(
          fmt::format("--sample has no beams: the {} that the model's files ask for are not used", options.num_beams));
      options.num_beams = 1;
    }
  }
  refuse_without_effect(wanted, options);
  check_lengths(wanted, defaults);
  check_options(options, vocab_size);
  // What has no effect because of a wish is what the wish is for: told is what the files alone leave without one.
  for (const std::string& message : options_without_effect(options, vocab_size)) {
    if (std::ranges::find(without_effect, message) == without_effect.end()) continue;
    defaults.warnings.push_back("the model's files: " + message);
  }
}

}  // namespace flame::model
