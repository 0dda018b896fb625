#include "flame/model/generation_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/io/file.h"

namespace flame::model {
namespace {

// transformers' default when nobody says how long: 20 tokens beside the start token.
constexpr std::size_t kDefaultNewTokens = 20;
constexpr std::int64_t kLongest = 1 << 20;
constexpr std::int64_t kMostBeams = 1024;
// What logits are multiplied with or divided by stays far from fp32's infinity; so does a length to its penalty's
// power.
constexpr double kLeastFactor = 1e-6;
constexpr double kMostFactor = 1e6;
constexpr double kMostLengthPenalty = 100.0;

std::size_t read_size(const JsonView& value, std::int64_t minimum, std::int64_t maximum) {
  return static_cast<std::size_t>(value.as_integer(minimum, maximum));
}

std::int32_t read_token(const JsonView& value) { return static_cast<std::int32_t>(value.as_integer(0, INT32_MAX)); }

std::vector<std::int32_t> read_tokens(const JsonView& value) {
  if (!value.is_array()) return {read_token(value)};
  std::vector<std::int32_t> tokens;
  for (std::size_t i = 0; i < value.size(); ++i) tokens.push_back(read_token(value.element(i)));
  return tokens;
}

EarlyStopping read_early_stopping(const JsonView& value) {
  if (value.is_string()) {
    if (value.as_string() != "never") value.fail(R"(expected true, false or "never")");
    return EarlyStopping::kNever;
  }
  return value.as_bool() ? EarlyStopping::kTrue : EarlyStopping::kFalse;
}

// Keys whose value, when it is not the neutral one, would change transformers' output in a way that FLAME does not
// have.
bool is_neutral(std::string_view key, const Json& value) {
  static constexpr std::array<std::pair<std::string_view, double>, 12> kNeutral{{{"encoder_no_repeat_ngram_size", 0.0},
                                                                                 {"encoder_repetition_penalty", 1.0},
                                                                                 {"typical_p", 1.0},
                                                                                 {"min_p", 0.0},
                                                                                 {"epsilon_cutoff", 0.0},
                                                                                 {"eta_cutoff", 0.0},
                                                                                 {"num_beam_groups", 1.0},
                                                                                 {"diversity_penalty", 0.0},
                                                                                 {"penalty_alpha", 0.0},
                                                                                 {"guidance_scale", 1.0},
                                                                                 {"renormalize_logits", 0.0},
                                                                                 {"low_memory", 0.0}}};
  static constexpr std::array<std::string_view, 9> kMustBeUnset{
      "top_h",       "sequence_bias",       "exponential_decay_length_penalty",
      "max_time",    "stop_strings",        "force_words_ids",
      "constraints", "watermarking_config", "dola_layers"};
  for (const auto& [name, neutral] : kNeutral) {
    if (name != key) continue;
    const double found = value.is_number()    ? value.get<double>()
                         : value.is_boolean() ? (value.get<bool>() ? 1.0 : 0.0)
                                              : -1.0;
    return found == neutral;
  }
  return std::find(kMustBeUnset.begin(), kMustBeUnset.end(), key) == kMustBeUnset.end();
}

void read_lengths(const JsonView& object, GenerationOptions& options) {
  if (const auto value = object.find("max_length")) {
    options.max_length = read_size(*value, 1, kLongest);
    options.max_new_tokens.reset();  // of a weaker source
  }
  if (const auto value = object.find("max_new_tokens")) options.max_new_tokens = read_size(*value, 1, kLongest);
  if (const auto value = object.find("min_length")) {
    options.min_length = read_size(*value, 0, kLongest);
    options.min_new_tokens.reset();
  }
  if (const auto value = object.find("min_new_tokens")) options.min_new_tokens = read_size(*value, 0, kLongest);
}

void read_search(const JsonView& object, GenerationOptions& options) {
  if (const auto value = object.find("num_beams")) options.num_beams = read_size(*value, 1, kMostBeams);
  if (const auto value = object.find("num_return_sequences")) {
    options.num_return_sequences = read_size(*value, 1, kMostBeams);
  }
  if (const auto value = object.find("length_penalty")) {
    options.length_penalty = value->as_number(-kMostLengthPenalty, kMostLengthPenalty);
  }
  if (const auto value = object.find("early_stopping")) options.early_stopping = read_early_stopping(*value);
}

void read_sampling(const JsonView& object, GenerationOptions& options) {
  if (const auto value = object.find("do_sample")) options.do_sample = value->as_bool();
  if (const auto value = object.find("temperature")) {
    options.temperature = value->as_number(0.0, kMostFactor);
  }
  if (const auto value = object.find("top_k")) options.top_k = read_size(*value, 0, kLongest);
  if (const auto value = object.find("top_p")) options.top_p = value->as_number(0.0, 1.0);
}

void read_constraints(const JsonView& object, GenerationOptions& options) {
  if (const auto value = object.find("repetition_penalty")) {
    options.repetition_penalty = value->as_number(kLeastFactor, kMostFactor);
  }
  if (const auto value = object.find("no_repeat_ngram_size")) {
    options.no_repeat_ngram_size = read_size(*value, 0, kLongest);
  }
  if (const auto value = object.find("bad_words_ids")) {
    options.bad_words_ids.clear();
    for (std::size_t i = 0; i < value->size(); ++i) options.bad_words_ids.push_back(read_tokens(value->element(i)));
  }
  if (const auto value = object.find("suppress_tokens")) options.suppress_tokens = read_tokens(*value);
  if (const auto value = object.find("begin_suppress_tokens")) options.begin_suppress_tokens = read_tokens(*value);
  if (const auto value = object.find("forced_bos_token_id")) options.forced_bos_token_id = read_token(*value);
  if (const auto value = object.find("forced_eos_token_id")) options.forced_eos_token_ids = read_tokens(*value);
}

void read_special_tokens(const JsonView& object, GenerationOptions& options) {
  if (const auto value = object.find("decoder_start_token_id")) options.decoder_start_token_id = read_token(*value);
  if (const auto value = object.find("pad_token_id")) options.pad_token_id = read_token(*value);
  if (const auto value = object.find("eos_token_id")) options.eos_token_ids = read_tokens(*value);
}

// Lays the generation keys of a JSON object over `defaults`.
void apply(const JsonView& object, GenerationDefaults& defaults) {
  read_lengths(object, defaults.options);
  read_search(object, defaults.options);
  read_sampling(object, defaults.options);
  read_constraints(object, defaults.options);
  read_special_tokens(object, defaults.options);
  for (const std::string& key : object.keys()) {
    const auto value = object.find(key);
    if (!value || is_neutral(key, value->value())) continue;
    defaults.warnings.push_back(object.source().string() + ": " + key + " = " + to_text(value->value()) +
                                " is ignored: FLAME does not have it");
  }
}

std::optional<std::string> read_if_there(const std::filesystem::path& path, io::FileSystem& files) {
  if (!files.exists(path)) return std::nullopt;
  return io::read_file(path, files);
}

void apply_task(const JsonView& config, const std::string& task, GenerationDefaults& defaults) {
  const auto tasks = config.find("task_specific_params");
  if (!tasks || !tasks->find(task)) {
    std::string known;
    for (const std::string& name : defaults.tasks) known += (known.empty() ? "" : ", ") + name;
    throw UsageError("unknown task \"" + task + "\": " + config.source().string() +
                     (known.empty() ? " has no task_specific_params" : " has " + known));
  }
  const JsonView parameters = tasks->at(task);
  apply(parameters, defaults);
  if (const auto prefix = parameters.find("prefix")) defaults.prefix = prefix->as_string();
}

void use_config_tokens(const SwitchConfig& config, const std::filesystem::path& model, GenerationDefaults& defaults) {
  GenerationOptions& options = defaults.options;
  options.eos_token_ids = config.eos_token_ids;
  options.pad_token_id = config.pad_token_id.value_or(config.eos_token_ids.empty() ? 0 : config.eos_token_ids.front());
  if (config.decoder_start_token_id) {
    options.decoder_start_token_id = *config.decoder_start_token_id;
  } else if (config.bos_token_id) {
    options.decoder_start_token_id = *config.bos_token_id;
  } else {
    // transformers refuses to generate then; the padding token is what every Switch checkpoint starts from.
    options.decoder_start_token_id = options.pad_token_id;
    defaults.warnings.push_back(model.string() + ": no decoder_start_token_id; starting from the padding token " +
                                std::to_string(options.pad_token_id));
  }
}

void require(bool holds, const std::string& message) {
  if (!holds) throw UsageError(message);
}

bool is_factor(double value) { return value >= kLeastFactor && value <= kMostFactor; }

bool is_outside(std::int32_t token, std::size_t vocab_size) {
  return token < 0 || static_cast<std::size_t>(token) >= vocab_size;
}

void check_token(std::int32_t token, std::size_t vocab_size, const char* what) {
  require(!is_outside(token, vocab_size), std::string(what) + " " + std::to_string(token) +
                                              " is outside the vocabulary of " + std::to_string(vocab_size));
}

}  // namespace

std::size_t GenerationOptions::length_limit() const {
  if (max_new_tokens) return *max_new_tokens + 1;
  return max_length.value_or(kDefaultNewTokens + 1);
}

std::size_t GenerationOptions::length_floor() const {
  // transformers: min_new_tokens replaces min_length, even when it is 0.
  return min_new_tokens ? *min_new_tokens + 1 : min_length;
}

GenerationDefaults load_generation_defaults(const std::filesystem::path& model, const SwitchConfig& config,
                                            const std::optional<std::string>& task, io::FileSystem& files) {
  const bool directory = files.is_directory(model);
  const std::filesystem::path config_path = directory ? model / "config.json" : model;
  const std::optional<std::string> config_text = read_if_there(config_path, files);
  if (!config_text) throw ModelError(config_path.string() + ": not found; a model directory needs its config.json");
  const Json config_document = parse_json(*config_text, config_path);
  const JsonView config_view(config_document, config_path);

  GenerationDefaults defaults;
  use_config_tokens(config, model, defaults);
  const std::filesystem::path path = model / "generation_config.json";
  const std::optional<std::string> text = directory ? read_if_there(path, files) : std::nullopt;
  if (text) {
    const Json document = parse_json(*text, path);
    const JsonView view(document, path);
    if (!view.is_object()) view.fail("expected an object");
    if (view.find("decoder_start_token_id") && !config.decoder_start_token_id && !config.bos_token_id) {
      defaults.warnings.clear();  // the start token is known after all
    }
    apply(view, defaults);
  } else {
    apply(config_view, defaults);
  }
  if (const auto tasks = config_view.find("task_specific_params")) defaults.tasks = tasks->keys();
  if (task) apply_task(config_view, *task, defaults);
  return defaults;
}

void check_options(const GenerationOptions& options, std::size_t vocab_size) {
  require(options.length_limit() >= 2, "max_length must be at least 2: the start token and one more");
  require(options.length_limit() <= static_cast<std::size_t>(kLongest) + 1,
          "max_length must be at most " + std::to_string(kLongest));
  require(options.num_beams >= 1 && options.num_beams <= static_cast<std::size_t>(kMostBeams),
          "the number of beams must be from 1 to " + std::to_string(kMostBeams));
  require(options.num_return_sequences >= 1 && options.num_return_sequences <= static_cast<std::size_t>(kMostBeams),
          "the number of sequences to return must be from 1 to " + std::to_string(kMostBeams));
  require(!options.do_sample || options.num_beams == 1, "sampling and beam search exclude each other");
  require(options.do_sample || options.num_return_sequences <= options.num_beams,
          "cannot return " + std::to_string(options.num_return_sequences) + " sequences of " +
              std::to_string(options.num_beams) + (options.num_beams == 1 ? " beam" : " beams"));
  require(std::abs(options.length_penalty) <= kMostLengthPenalty, "length_penalty must be from -100 to 100");
  require(is_factor(options.repetition_penalty), "repetition_penalty must be from 1e-6 to 1e6");
  require(!options.do_sample || is_factor(options.temperature),
          "temperature must be from 1e-6 to 1e6; leave sampling out for the most likely token");
  require(options.top_p >= 0.0 && options.top_p <= 1.0, "top_p must be from 0 to 1");
  // Beam search keeps (end tokens + 1) * beams candidates, so that enough go on.
  require(
      std::max<std::size_t>(2, 1 + options.eos_token_ids.size()) * options.num_beams <= options.num_beams * vocab_size,
      "the vocabulary is too small for that many end tokens");
  check_token(options.decoder_start_token_id, vocab_size, "start token");
  if (options.forced_bos_token_id) check_token(*options.forced_bos_token_id, vocab_size, "forced first token");
  for (const std::int32_t token : options.forced_eos_token_ids) check_token(token, vocab_size, "forced last token");
  for (const std::vector<std::int32_t>& word : options.bad_words_ids) {
    require(!word.empty(), "bad_words_ids must not hold an empty list");
    for (const std::int32_t token : word) check_token(token, vocab_size, "bad word's token");
  }
}

std::vector<std::string> options_without_effect(const GenerationOptions& options, std::size_t vocab_size) {
  const GenerationOptions neutral;
  std::vector<std::string> messages;
  const auto add = [&](bool set, const char* name, const char* why) {
    if (set) messages.push_back(std::string(name) + " has no effect " + why);
  };
  const char* without_beams = "without beam search";
  if (options.num_beams == 1) {
    add(options.length_penalty != neutral.length_penalty, "length_penalty", without_beams);
    add(options.early_stopping != neutral.early_stopping, "early_stopping", without_beams);
  }
  const char* without_sampling = "without sampling";
  if (!options.do_sample) {
    add(options.temperature != neutral.temperature, "temperature", without_sampling);
    add(options.top_k != neutral.top_k, "top_k", without_sampling);
    add(options.top_p != neutral.top_p, "top_p", without_sampling);
  }
  add(options.max_new_tokens && options.max_length, "max_length", "beside max_new_tokens");
  add(options.min_new_tokens && options.min_length > 0, "min_length", "beside min_new_tokens");
  const auto add_outside = [&](const std::vector<std::int32_t>& tokens, const char* name) {
    for (const std::int32_t token : tokens) {
      if (!is_outside(token, vocab_size)) continue;
      messages.push_back(std::string(name) + " " + std::to_string(token) +
                         " has no effect: it is outside the vocabulary of " + std::to_string(vocab_size));
    }
  };
  add_outside(options.eos_token_ids, "eos_token_id");
  add_outside(options.suppress_tokens, "suppress_tokens");
  add_outside(options.begin_suppress_tokens, "begin_suppress_tokens");
  return messages;
}

}  // namespace flame::model
