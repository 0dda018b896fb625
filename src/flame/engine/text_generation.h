#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "flame/accel/accelerator_report.h"
#include "flame/base/json.h"
#include "flame/engine/engine.h"

namespace flame::engine {

/// One input: text, or token ids for a model without tokenizer.
struct Prompt {
  std::uint64_t index = 0;           ///< position in the input, from 0; what --resume goes by
  std::string text;                  ///< without the prefix
  std::vector<std::int32_t> tokens;  ///< used instead of `text` when not empty; the end token included
};

/// The next prompt, or nothing at the end of the input.
using PromptSource = std::function<std::optional<Prompt>()>;

/// What the encoder is fed: the prompt's ids, or those of `prefix` and its text, of more than `longest` the first ones
/// and the end token, where there is one. Throws UsageError for a prompt that cannot be run (empty, invalid UTF-8, ids
/// out of range, more than memory holds).
[[nodiscard]] std::vector<std::int32_t> input_ids(const Engine& engine, const Prompt& prompt, const std::string& prefix,
                                                  std::optional<std::size_t> longest = std::nullopt);

/// Tells `on_warning`, unless it is empty, when an input of `tokens` tokens is longer than the model was made for.
void warn_if_long(const Engine& engine, const Prompt& prompt, std::size_t tokens,
                  const std::function<void(const std::string& message)>& on_warning);

/// What producing one output took, or all of a run. Prompts that are decoded together share the work: an output's
/// seconds, lookups and bytes are then its batch's, from the batch's start until the output was done. Its tokens are
/// its own.
struct RunStatistics {
  double encoder_seconds = 0.0;
  double decoder_seconds = 0.0;
  double first_token_seconds = 0.0;  ///< of all batches
  std::uint64_t batches = 0;
  std::uint64_t input_tokens = 0;
  std::uint64_t output_tokens = 0;
  std::uint64_t prompts = 0;            ///< decoded together (of a run: in all); 1: every figure is the output's own
  std::uint64_t peak_memory_bytes = 0;  ///< of the process, so far
  std::uint64_t cache_bytes = 0;        ///< keys and values
  model::MoeStatistics experts;
  std::optional<accel::AcceleratorReport> accelerator;  ///< where an accelerator ran the experts

  /// Output tokens over decoder seconds; 0 when nothing was decoded.
  [[nodiscard]] double tokens_per_second() const;
  /// Sums times and counts, keeps the larger peaks.
  RunStatistics& operator+=(const RunStatistics& other);
};

/// The "stats" object of `flame generate --json`. With an accelerator also its "accelerator" object, and "clocks",
/// which says that "wait_seconds" is the kernel's time and all other seconds are wall time: those of the simulation,
/// where the kernel is simulated.
[[nodiscard]] Json to_json(const RunStatistics& statistics);

/// One prompt's output.
struct TextOutput {
  std::uint64_t index = 0;
  std::vector<std::string> texts;  ///< one a returned sequence, the best first; empty without tokenizer
  std::vector<model::GeneratedSequence> sequences;
  std::uint64_t input_tokens = 0;
  RunStatistics statistics;
};

/// One line of `flame generate --json`: index, text, tokens, input_tokens, stats; with several returned sequences also
/// "texts", "sequences" and, of beam search, "scores".
[[nodiscard]] Json to_json(const TextOutput& output);

struct TextGenerationOptions {
  model::GenerationOptions generation;
  std::string prefix;  ///< put before every text
  /// Longer inputs are cut, see input_ids().
  std::optional<std::size_t> max_input_tokens = std::nullopt;
  std::size_t batch_size = 1;  ///< prompts decoded together
  /// False: an output is given as soon as it is done. True: as soon as it and all before it are done.
  bool keep_order = false;
};

struct TextGenerationCallbacks {
  /// With one prompt at a time, one sequence and no beams: text as soon as it is certain.
  std::function<void(std::string_view piece)> on_text;
  /// A prompt is done, while others of its batch may still run. When the batch fails or is interrupted, those that were
  /// done by then have been given.
  std::function<void(const TextOutput& output)> on_output;
  /// A prompt that cannot be run (empty, invalid UTF-8, ids out of range) is skipped with this message; without it the
  /// error is thrown.
  std::function<void(const Prompt& prompt, const std::string& why)> on_skipped;
  /// Worth telling, but not an error: a prompt longer than the model was made for.
  std::function<void(const std::string& message)> on_warning;
};

/// Runs every prompt of `source` through the engine and returns the sums over all. Throws Interrupted after Ctrl-C:
/// what on_output has been given by then stands.
RunStatistics generate_texts(Engine& engine, const PromptSource& source, const TextGenerationOptions& options,
                             const TextGenerationCallbacks& callbacks);

}  // namespace flame::engine
