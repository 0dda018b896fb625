#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/base/progress.h"
#include "flame/commands.h"
#include "flame/console.h"
#include "flame/engine/prompt_source.h"
#include "flame/engine/tracing.h"
#include "flame/io/atomic_output.h"
#include "flame/io/file.h"
#include "flame/options.h"

namespace flame::cli {
namespace {

struct TraceOptions {
  ModelOptions model;
  InputOptions input;
  GenerationFlags generation;
  BufferFlags buffer;
  std::string forced_field;
  std::size_t batch = 8;
  bool hidden = false;
  std::string output;
  bool json = false;
};

void check(const TraceOptions& options, bool batch_given) {
  check_input_options(options.input);
  if (!options.forced_field.empty() && options.input.file.empty()) {
    throw UsageError("--teacher-forced needs --input: the file whose lines hold the reference");
  }
  if (!options.forced_field.empty() && !options.generation.wanted.empty()) {
    throw UsageError("--teacher-forced follows a text: options of generation have no effect beside it");
  }
  if (batch_given && options.batch > 1 && has_one_prompt(options.input)) {
    throw UsageError("--batch has no effect: there is one prompt");
  }
  io::require_file_target(options.output);
  if (io::FileSystem::real().exists(options.output)) {
    throw UsageError(fmt::format("{}: exists already; remove it to trace again", options.output));
  }
}

engine::TracePromptSource open_traced_prompts(const TraceOptions& options, Skipped& skipped) {
  const InputOptions& input = options.input;
  if (!options.forced_field.empty()) {
    return engine::part_of<engine::TracePrompt>(
        engine::reference_lines(input.file, input.field, options.forced_field, line_options(input, skipped)),
        input.skip, input.limit);
  }
  return [source = open_prompts(input, skipped)]() -> std::optional<engine::TracePrompt> {
    std::optional<engine::Prompt> prompt = source();
    if (!prompt) return std::nullopt;
    return engine::TracePrompt{std::move(*prompt), std::nullopt};
  };
}

std::string data_text(const TraceOptions& options) {
  const InputOptions& input = options.input;
  std::string text = !input.file.empty()       ? fmt::format("{}, {}", input.file, input.field)
                     : !input.ids_file.empty() ? input.ids_file
                                               : std::string("prompts given to the command");
  if (input.skip > 0) text += fmt::format(", from number {}", input.skip);
  if (input.limit) text += fmt::format(", {} at most", *input.limit);
  return text;
}

/// `bundle`: the model, where it is one.
void trace(const TraceOptions& options, const std::shared_ptr<const experts::Bundle>& bundle) {
  const routing::TraceRecorderOptions record{.hidden = options.hidden, .approach = options.hidden};
  routing::TraceRecorder* recorder = nullptr;
  engine::EngineOptions setup = engine_options(options.model);
  setup.buffer = buffer_options(options.buffer);
  setup.bundle = bundle;
  engine::Engine engine = engine::open_for_tracing(options.model.model, setup, record, recorder);
  for (const std::string& warning : engine.warnings()) warn(warning);
  const model::GenerationDefaults defaults = [&] {
    GenerationFlags flags = options.generation;
    if (!flags.wanted.beams)
      flags.wanted.beams = 1;  // a trace follows one path, whatever the model's files say of beams
    return generation_options(flags, engine);
  }();
  if (defaults.options.num_beams > 1 || defaults.options.num_return_sequences > 1) {
    throw UsageError("a trace follows one path an example: --beams and --return must be 1");
  }
  engine::TracingOptions tracing;
  tracing.generation = defaults.options;
  tracing.prefix = options.input.prefix.value_or(defaults.prefix);
  tracing.max_input_tokens = options.input.max_input_tokens;
  tracing.batch_size = options.batch;
  tracing.record = record;
  tracing.data = data_text(options);
  tracing.forced_field = options.forced_field;
  Progress progress("tracing", options.input.limit.value_or(0));
  engine::TracingCallbacks callbacks;
  callbacks.on_progress = [&](std::uint64_t done) { progress.set(done); };
  Skipped skipped;
  callbacks.on_warning = [](const std::string& message) { warn(message); };
  if (!options.input.strict) {
    callbacks.on_skipped = [&](const engine::Prompt& prompt, const std::string& why) {
      ++skipped.prompts;
      warn(fmt::format("prompt {}: {} (skipped)", prompt.index + 1, why));
    };
  }
  const engine::TracePromptSource source = open_traced_prompts(options, skipped);
  const engine::TracingSummary summary =
      engine::trace_prompts(engine, *recorder, source, tracing, callbacks, options.output);
  progress.finish();
  if (options.json) {
    print(to_text(Json{{"output", options.output},
                       {"examples", summary.examples},
                       {"examples_resumed", summary.resumed},
                       {"encoder_steps", summary.encoder_steps},
                       {"decoder_steps", summary.decoder_steps},
                       {"seconds", summary.seconds}}) +
          "\n");
    return skipped.throw_if_any();
  }
  print(fmt::format("{}: {} examples ({} of them from an earlier run), {} encoder and {} decoder steps, {:.1f} s\n",
                    options.output, summary.examples, summary.resumed, summary.encoder_steps, summary.decoder_steps,
                    summary.seconds));
  skipped.throw_if_any();
}

}  // namespace

void add_trace_command(CLI::App& app) {
  const auto options = std::make_shared<TraceOptions>();
  CLI::App* command = app.add_subcommand("trace", "Records every routing decision of a run");
  command->footer(
      "Example:\n"
      "  flame trace models/switch-dialogsum-8 --task summarization --input train.jsonl --field dialogue \\\n"
      "      --limit 1500 -o train.trace\n"
      "The trace is a safetensors file (docs/routing.md). An interrupted run keeps its parts in OUTPUT.parts; the "
      "same\n"
      "command goes on from there.");
  add_model_options(*command, options->model);
  add_input_options(*command, options->input);
  add_generation_options(*command, options->generation);
  add_buffer_options(*command, options->buffer);
  command
      ->add_option("--teacher-forced", options->forced_field,
                   "Follow the text under this key of --input's lines instead of decoding freely")
      ->group("Trace");
  command->add_option("--batch", options->batch, "Prompts decoded together; never changes a result")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str()
      ->group("Trace");
  command
      ->add_flag("--hidden", options->hidden,
                 "Keep the decoder's hidden states at routers and at the blocks' inputs, for learning predictors")
      ->group("Trace");
  command->add_option("-o,--output", options->output, "The trace file to write")->required()->group("Trace");
  command->add_flag("--json", options->json, "What was traced, as a JSON object")->group("Trace");
  command->callback([options, command] {
    check(*options, command->count("--batch") > 0);
    check_output_files({options->output, options->buffer.timeline},
                       {options->model.model, options->input.file, options->input.ids_file});
    trace(*options, check_buffer_options(*command, options->model.model, options->buffer));
  });
}

}  // namespace flame::cli
