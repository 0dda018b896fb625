#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "flame/engine/engine.h"
#include "flame/engine/text_generation.h"
#include "flame/routing/trace_recorder.h"

namespace flame::engine {

/// One input of a trace. With a reference the decoder follows it (teacher forcing) instead of its own choice.
struct TracePrompt {
  Prompt prompt;
  std::optional<std::string> reference;
};

/// The next input, or nothing at the end.
using TracePromptSource = std::function<std::optional<TracePrompt>()>;

struct TracingOptions {
  model::GenerationOptions generation;                         ///< one beam, one sequence
  std::string prefix;                                          ///< put before every prompt
  std::optional<std::size_t> max_input_tokens = std::nullopt;  ///< longer inputs are cut, see input_ids()
  std::size_t batch_size = 8;
  routing::TraceRecorderOptions record;
  std::string model;               ///< how the trace names the model; empty: by its path
  std::string data;                ///< for the trace's metadata: file and field
  std::string forced_field;        ///< for the metadata: where the references come from; empty: none
  std::size_t part_examples = 64;  ///< a part is written whenever so many examples are done
};

struct TracingCallbacks {
  std::function<void(std::uint64_t prompts_done)> on_progress;
  /// A prompt that cannot be run is left out with this message; without it the error is thrown.
  std::function<void(const Prompt& prompt, const std::string& why)> on_skipped;
  std::function<void(const std::string& message)> on_warning;  ///< a prompt that is very long
};

struct TracingSummary {
  std::uint64_t examples = 0;
  std::uint64_t encoder_steps = 0;
  std::uint64_t decoder_steps = 0;
  std::uint64_t resumed = 0;  ///< examples that an earlier, interrupted run had traced already
  double seconds = 0.0;
};

/// Opens a model whose routing can be traced. `recorder` is set to the engine's own recorder and lives as long as it.
[[nodiscard]] Engine open_for_tracing(const std::filesystem::path& model, EngineOptions options,
                                      const routing::TraceRecorderOptions& record, routing::TraceRecorder*& recorder);

/// What a trace of this engine's model says of it: sizes, and the checksum of its weights (reads them all once).
[[nodiscard]] routing::TraceInfo trace_info(const Engine& engine);

/// Runs every prompt and writes the routing trace to `output` (whole or absent). Finished parts are kept beside it in
/// OUTPUT.parts until the trace is complete: run again with the same options and prompts, it goes on from there. Throws
/// UsageError when OUTPUT.parts belongs to other options, Interrupted after Ctrl-C with all finished batches kept.
TracingSummary trace_prompts(Engine& engine, routing::TraceRecorder& recorder, const TracePromptSource& source,
                             const TracingOptions& options, const TracingCallbacks& callbacks,
                             const std::filesystem::path& output);

}  // namespace flame::engine
