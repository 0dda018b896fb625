#include "flame/engine/text_generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "flame/accel/accelerator_device.h"
#include "flame/base/error.h"
#include "flame/base/interrupt.h"
#include "flame/base/memory_usage.h"
#include "flame/model/beam_search.h"
#include "flame/model/input_memory.h"
#include "flame/text/streaming_decoder.h"

namespace flame::engine {
namespace {

struct Batch {
  std::vector<Prompt> prompts;
  std::vector<std::vector<std::int32_t>> inputs;
};

Batch next_batch(const Engine& engine, const PromptSource& source, const TextGenerationOptions& options,
                 const TextGenerationCallbacks& callbacks) {
  Batch batch;
  while (batch.prompts.size() < options.batch_size) {
    std::optional<Prompt> prompt = source();
    if (!prompt) break;
    try {
      batch.inputs.push_back(input_ids(engine, *prompt, options.prefix, options.max_input_tokens));
    } catch (const UsageError& error) {
      if (!callbacks.on_skipped) throw;
      callbacks.on_skipped(*prompt, error.what());
      continue;
    }
    warn_if_long(engine, *prompt, batch.inputs.back().size(), callbacks.on_warning);
    batch.prompts.push_back(std::move(*prompt));
  }
  return batch;
}

/// True when beam search had to fill up with what it never finished.
bool has_placeholders(const model::GenerationResult& result) {
  return std::ranges::any_of(result.sequences, [](const model::GeneratedSequence& sequence) {
    return sequence.score && *sequence.score <= model::kNeverFinished;
  });
}

RunStatistics collect(Engine& engine, std::size_t prompts) {
  const model::GenerationStatistics& generation = engine.generator().statistics();
  RunStatistics statistics;
  statistics.encoder_seconds = generation.encoder_seconds;
  statistics.decoder_seconds = generation.decoder_seconds;
  statistics.first_token_seconds = generation.first_token_seconds;
  statistics.batches = 1;
  statistics.input_tokens = generation.input_tokens;
  statistics.output_tokens = generation.output_tokens;
  statistics.prompts = prompts;
  statistics.peak_memory_bytes = memory_usage().peak;
  statistics.cache_bytes = engine.generator().cache_bytes();
  statistics.experts = engine.device().statistics();
  if (const auto* accelerator = dynamic_cast<const accel::AcceleratorDevice*>(&engine.device())) {
    statistics.accelerator = accelerator->report();
  }
  return statistics;
}

/// Gives the outputs of one batch to the caller, at once or in the batch's order.
class HandOut {
 public:
  HandOut(std::size_t prompts, bool keep_order, const TextGenerationCallbacks& callbacks)
      : waiting_(prompts), keep_order_(keep_order), callbacks_(callbacks) {}

  void add(std::size_t place, TextOutput output) {
    if (!keep_order_) return give(output);
    waiting_[place] = std::move(output);
    while (next_ < waiting_.size() && waiting_[next_]) give_waiting(next_++);
  }

  /// Nothing more will be done: gives what still waits for one before it.
  void give_rest() {
    while (next_ < waiting_.size()) {
      const std::size_t place = next_++;
      if (waiting_[place]) give_waiting(place);
    }
  }

 private:
  void give(const TextOutput& output) const {
    if (callbacks_.on_output) callbacks_.on_output(output);
  }
  void give_waiting(std::size_t place) {
    const TextOutput output = std::move(*waiting_[place]);
    waiting_[place].reset();
    give(output);
  }

  std::vector<std::optional<TextOutput>> waiting_;  ///< [prompts]
  std::size_t next_ = 0;                            ///< all before it have been given
  bool keep_order_;
  const TextGenerationCallbacks& callbacks_;
};

/// Runs one batch, hands out its results, and returns the figures of the whole batch.
RunStatistics run_batch(Engine& engine, const Batch& batch, const TextGenerationOptions& options,
                        const TextGenerationCallbacks& callbacks) {
  const text::Tokenizer* tokenizer = engine.tokenizer();
  const bool streams = callbacks.on_text && tokenizer != nullptr && batch.prompts.size() == 1 &&
                       options.generation.num_beams == 1 && options.generation.num_return_sequences == 1;
  std::optional<text::StreamingDecoder> decoder;
  if (streams) decoder.emplace(*tokenizer);

  const auto output_of = [&](std::size_t input, const model::GenerationResult& result) {
    TextOutput output;
    output.index = batch.prompts[input].index;
    output.input_tokens = batch.inputs[input].size();
    output.sequences = result.sequences;
    if (callbacks.on_warning && has_placeholders(result)) {
      callbacks.on_warning(
          fmt::format("prompt {}: beam search returns sequences that it has not finished, as no score "
                      "of others is above their {}: see --length-penalty, --beams and --return",
                      output.index + 1, model::kNeverFinished));
    }
    output.statistics = collect(engine, batch.prompts.size());
    output.statistics.input_tokens = output.input_tokens;
    output.statistics.output_tokens = 0;
    for (const model::GeneratedSequence& sequence : result.sequences) {
      output.statistics.output_tokens += sequence.tokens.size();
      if (tokenizer != nullptr) output.texts.push_back(tokenizer->decode(sequence.tokens));
    }
    return output;
  };

  HandOut hand_out(batch.prompts.size(), options.keep_order, callbacks);
  model::GenerationCallbacks generation_callbacks;
  generation_callbacks.interrupted = [] { return interrupted(); };
  generation_callbacks.on_result = [&](std::size_t input, const model::GenerationResult& result) {
    if (streams) {
      if (const std::string rest = decoder->finish(); !rest.empty()) callbacks.on_text(rest);
    }
    hand_out.add(input, output_of(input, result));
  };
  if (streams) {
    generation_callbacks.on_token = [&](std::size_t, std::int32_t token) {
      if (const std::string piece = decoder->push(token); !piece.empty()) callbacks.on_text(piece);
    };
  }

  model::GenerationOptions generation = options.generation;
  generation.input_numbers.clear();
  for (const Prompt& prompt : batch.prompts) generation.input_numbers.push_back(prompt.index);
  engine.device().begin_statistics();
  try {
    engine.generator().generate(batch.inputs, generation, generation_callbacks);
  } catch (...) {
    hand_out.give_rest();
    throw;
  }
  return collect(engine, batch.prompts.size());
}

std::vector<std::int32_t> checked_ids(const Engine& engine, std::vector<std::int32_t> tokens, std::size_t longest) {
  const model::SwitchConfig& config = engine.config();
  for (const std::int32_t token : tokens) {
    if (token < 0 || static_cast<std::uint32_t>(token) >= config.vocab_size) {
      throw UsageError(fmt::format("token id {} is not one of the model's {} ids", token, config.vocab_size));
    }
  }
  if (tokens.size() <= longest) return tokens;
  const std::int32_t last = tokens.back();
  tokens.resize(longest);
  if (std::ranges::find(config.eos_token_ids, last) != config.eos_token_ids.end()) tokens.back() = last;
  return tokens;
}

std::vector<std::int32_t> ids_of_text(const Engine& engine, const std::string& prefix, const std::string& text,
                                      std::size_t longest) {
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) throw UsageError("the prompt is empty");
  return engine.require_tokenizer().encode(prefix + text, longest);
}

}  // namespace

std::vector<std::int32_t> input_ids(const Engine& engine, const Prompt& prompt, const std::string& prefix,
                                    std::optional<std::size_t> longest) {
  const std::size_t most = longest.value_or(std::numeric_limits<std::size_t>::max());
  std::vector<std::int32_t> ids =
      prompt.tokens.empty() ? ids_of_text(engine, prefix, prompt.text, most) : checked_ids(engine, prompt.tokens, most);
  model::require_input_memory(engine.config(), engine.dense_weights(), ids.size());
  return ids;
}

void warn_if_long(const Engine& engine, const Prompt& prompt, std::size_t tokens,
                  const std::function<void(const std::string& message)>& on_warning) {
  if (tokens <= engine.longest_input() || !on_warning) return;
  on_warning(fmt::format("prompt {} has {} tokens, and the model was made for at most {}: the text may be poor",
                         prompt.index + 1, tokens, engine.longest_input()));
}

double RunStatistics::tokens_per_second() const {
  return decoder_seconds > 0.0 ? static_cast<double>(output_tokens) / decoder_seconds : 0.0;
}

RunStatistics& RunStatistics::operator+=(const RunStatistics& other) {
  encoder_seconds += other.encoder_seconds;
  decoder_seconds += other.decoder_seconds;
  first_token_seconds += other.first_token_seconds;
  batches += other.batches;
  input_tokens += other.input_tokens;
  output_tokens += other.output_tokens;
  prompts += other.prompts;
  peak_memory_bytes = std::max(peak_memory_bytes, other.peak_memory_bytes);
  cache_bytes = std::max(cache_bytes, other.cache_bytes);
  experts.hits += other.experts.hits;
  experts.late += other.experts.late;
  experts.misses += other.experts.misses;
  experts.bytes_demand += other.experts.bytes_demand;
  experts.bytes_prefetch_used += other.experts.bytes_prefetch_used;
  experts.bytes_prefetch_wasted += other.experts.bytes_prefetch_wasted;
  experts.wait_seconds += other.experts.wait_seconds;
  experts.counted = experts.counted && other.experts.counted;
  if (other.accelerator) {
    if (!accelerator) accelerator.emplace();
    *accelerator += *other.accelerator;
  }
  return *this;
}

Json to_json(const RunStatistics& statistics) {
  Json json = {{"encoder_seconds", statistics.encoder_seconds},
               {"decoder_seconds", statistics.decoder_seconds},
               {"first_token_seconds", statistics.first_token_seconds},
               {"input_tokens", statistics.input_tokens},
               {"output_tokens", statistics.output_tokens},
               {"prompts", statistics.prompts},
               {"tokens_per_second", statistics.tokens_per_second()},
               {"peak_memory_bytes", statistics.peak_memory_bytes},
               {"cache_bytes", statistics.cache_bytes},
               {"hits", statistics.experts.hits},
               {"late", statistics.experts.late},
               {"misses", statistics.experts.misses},
               {"bytes_demand", statistics.experts.bytes_demand},
               {"bytes_prefetch_used", statistics.experts.bytes_prefetch_used},
               {"bytes_prefetch_wasted", statistics.experts.bytes_prefetch_wasted},
               {"wait_seconds", statistics.experts.wait_seconds}};
  if (!statistics.experts.counted) {
    leave_unsaid(json, {"hits", "late", "misses", "bytes_demand", "bytes_prefetch_used", "bytes_prefetch_wasted",
                        "wait_seconds"});
  }
  if (statistics.accelerator) {
    json["clocks"] = {{"seconds", "wall"}, {"wait_seconds", "kernel"}};
    json["accelerator"] = accel::to_json(*statistics.accelerator, statistics.output_tokens);
  }
  return json;
}

Json to_json(const TextOutput& output) {
  Json line = {{"index", output.index},
               {"tokens", output.sequences.front().tokens},
               {"input_tokens", output.input_tokens},
               {"stats", to_json(output.statistics)}};
  line["text"] = output.texts.empty() ? Json(nullptr) : Json(output.texts.front());
  if (output.sequences.size() > 1) {
    line["texts"] = output.texts;
    Json sequences = Json::array();
    Json scores = Json::array();
    for (const model::GeneratedSequence& sequence : output.sequences) {
      sequences.push_back(sequence.tokens);
      if (sequence.score) scores.push_back(*sequence.score);
    }
    line["sequences"] = std::move(sequences);
    if (!scores.empty()) line["scores"] = std::move(scores);
  }
  return line;
}

RunStatistics generate_texts(Engine& engine, const PromptSource& source, const TextGenerationOptions& options,
                             const TextGenerationCallbacks& callbacks) {
  if (options.batch_size == 0) throw UsageError("--batch: expected at least 1");
  RunStatistics total;
  for (;;) {
    throw_if_interrupted();
    const Batch batch = next_batch(engine, source, options, callbacks);
    if (batch.prompts.empty()) return total;
    total += run_batch(engine, batch, options, callbacks);
  }
}

}  // namespace flame::engine
