#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/base/progress.h"
#include "flame/commands.h"
#include "flame/console.h"
#include "flame/engine/tracing.h"
#include "flame/io/file.h"
#include "flame/io/json_lines.h"
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
  std::size_t skip = 0;
  bool hidden = false;
  std::string output;
  bool json = false;
};

void check(const TraceOptions& options) {
  check_input_options(options.input);
  if (!options.forced_field.empty() && options.input.file.empty()) {
    throw UsageError("--teacher-forced needs --input: the file whose lines hold the reference");
  }
  if (io::FileSystem::real().exists(options.output)) {
    throw UsageError(fmt::format("{}: exists already; remove it to trace again", options.output));
  }
}

/// Prompts with their references, both from one line.
engine::TracePromptSource forced_prompts(const TraceOptions& options) {
  auto reader = std::make_shared<io::JsonLinesReader>(
      options.input.file,
      io::JsonLinesOptions{.strict = options.input.strict,
                           .on_bad_line = [](const std::string& message) { warn(message + " (skipped)"); }});
  return [reader, &options, seen = std::size_t{0}]() mutable -> std::optional<engine::TracePrompt> {
    while (!options.input.limit || seen < *options.input.limit + options.skip) {
      const std::optional<Json> line = reader->next();
      if (!line) return std::nullopt;
      const auto text = line->find(options.input.field);
      const auto reference = line->find(options.forced_field);
      if (text == line->end() || !text->is_string() || reference == line->end() || !reference->is_string()) {
        reader->report_bad_line(
            fmt::format("expected texts under \"{}\" and \"{}\"", options.input.field, options.forced_field));
        continue;
      }
      if (++seen <= options.skip) continue;
      engine::TracePrompt traced;
      traced.prompt.index = reader->line() - 1;
      traced.prompt.text = text->get<std::string>();
      traced.reference = reference->get<std::string>();
      return traced;
    }
    return std::nullopt;
  };
}

engine::TracePromptSource plain_prompts(const TraceOptions& options) {
  InputOptions input = options.input;
  if (input.limit) *input.limit += options.skip;
  return [source = open_prompts(input), left = options.skip]() mutable -> std::optional<engine::TracePrompt> {
    for (; left > 0; --left) {
      if (!source()) return std::nullopt;
    }
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
  if (options.skip > 0) text += fmt::format(", from number {}", options.skip);
  if (input.limit) text += fmt::format(", {} at most", *input.limit);
  return text;
}

void trace(const TraceOptions& options) {
  check(options);
  const routing::TraceRecorderOptions record{.hidden = options.hidden, .approach = options.hidden};
  routing::TraceRecorder* recorder = nullptr;
  engine::EngineOptions setup = engine_options(options.model);
  setup.buffer = buffer_options(options.buffer);
  engine::Engine engine = engine::open_for_tracing(options.model.model, setup, record, recorder);
  for (const std::string& warning : engine.warnings()) warn(warning);
  const model::GenerationDefaults defaults = [&] {
    GenerationFlags flags = options.generation;
    if (!flags.beams) flags.beams = 1;  // a trace follows one path, whatever the model's files say of beams
    return generation_options(flags, engine);
  }();
  if (defaults.options.num_beams > 1 || defaults.options.num_return_sequences > 1) {
    throw UsageError("a trace follows one path an example: --beams and --return must be 1");
  }
  engine::TracingOptions tracing;
  tracing.generation = defaults.options;
  tracing.prefix = options.input.prefix.value_or(defaults.prefix);
  tracing.batch_size = options.batch;
  tracing.record = record;
  tracing.data = data_text(options);
  tracing.forced_field = options.forced_field;
  Progress progress("tracing", options.input.limit.value_or(0));
  engine::TracingCallbacks callbacks;
  callbacks.on_progress = [&](std::uint64_t done) { progress.set(done); };
  callbacks.on_warning = [](const std::string& message) { warn(message); };
  const engine::TracePromptSource source =
      options.forced_field.empty() ? plain_prompts(options) : forced_prompts(options);
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
    return;
  }
  print(fmt::format("{}: {} examples ({} of them from an earlier run), {} encoder and {} decoder steps, {:.1f} s\n",
                    options.output, summary.examples, summary.resumed, summary.encoder_steps, summary.decoder_steps,
                    summary.seconds));
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
  command->add_option("--skip", options->skip, "Leave out this many prompts at the beginning")->group("Trace");
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
    check_buffer_options(*command, options->model.model);
    trace(*options);
  });
}

}  // namespace flame::cli
