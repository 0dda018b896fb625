#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "flame/accel/accelerator_report.h"
#include "flame/base/byte_size.h"
#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/base/progress.h"
#include "flame/commands.h"
#include "flame/console.h"
#include "flame/device_options.h"
#include "flame/engine/engine.h"
#include "flame/engine/output_file.h"
#include "flame/engine/text_generation.h"
#include "flame/eval/buffer_report.h"
#include "flame/experts/buffered_device.h"
#include "flame/options.h"

namespace flame::cli {
namespace {

struct GenerateOptions {
  ModelOptions model;
  InputOptions input;
  GenerationFlags generation;
  DeviceOptions device;
  BufferFlags buffer;
  std::size_t batch = 1;
  std::string output;
  bool resume = false;
  bool json = false;
  bool stats = false;
};

/// Standard output takes the place of a file named "-".
bool writes_file(const GenerateOptions& options) { return !options.output.empty() && options.output != "-"; }

void check(const GenerateOptions& options, bool batch_given) {
  check_input_options(options.input);
  if (options.resume && !writes_file(options)) throw UsageError("--resume has no effect without -o FILE");
  if (options.json && !options.output.empty()) {
    throw UsageError("--json has no effect with -o: JSON lines are what it writes already");
  }
  if (batch_given && options.batch > 1 && has_one_prompt(options.input)) {
    throw UsageError("--batch has no effect: there is one prompt");
  }
}

void print_statistics(const engine::RunStatistics& statistics, const engine::Engine& engine,
                      const GenerateOptions& options, bool json) {
  tell(fmt::format(
      "{} tokens in, {} tokens out; encoder {:.2f} s, decoder {:.2f} s, {:.1f} tokens/s; first token after {:.3f} s{}",
      statistics.input_tokens, statistics.output_tokens, statistics.encoder_seconds, statistics.decoder_seconds,
      statistics.tokens_per_second(),
      statistics.first_token_seconds / static_cast<double>(std::max<std::uint64_t>(1, statistics.batches)),
      options.device.device == "fpga-sim" ? " (the simulation's own time)" : ""));
  const model::MoeStatistics& experts = statistics.experts;
  if (experts.counted)
    tell(fmt::format(
        "experts: {} hits, {} late, {} misses; {} on demand, {} prefetched and used, {} prefetched in vain; "
        "waited {:.{}f} s{}",
        experts.hits, experts.late, experts.misses, format_byte_size(experts.bytes_demand),
        format_byte_size(experts.bytes_prefetch_used), format_byte_size(experts.bytes_prefetch_wasted),
        experts.wait_seconds, statistics.accelerator ? 6 : 3, statistics.accelerator ? " of kernel time" : ""));
  if (statistics.accelerator) {
    const accel::AcceleratorReport& report = *statistics.accelerator;
    tell(json ? to_text(Json{{"accelerator", accel::to_json(report, statistics.output_tokens)}})
              : report.describe(statistics.output_tokens));
  }
  if (const auto* buffered = dynamic_cast<const experts::BufferedDevice*>(&engine.device())) {
    if (json) {
      tell(to_text(Json{{"buffer", eval::buffer_json(*buffered, statistics.decoder_seconds)}}));
    } else {
      tell(eval::describe_buffer(*buffered, statistics.decoder_seconds));
    }
  }
  tell(fmt::format(
      "memory: peak {}; weights {} (those mapped and never touched are not in the peak), keys and values {}",
      format_byte_size(statistics.peak_memory_bytes), format_byte_size(engine.weight_bytes()),
      format_byte_size(statistics.cache_bytes)));
}

/// Throws UsageError, before anything runs, for more sequences decoded together than the accelerator can tell apart.
void check_batch(const GenerateOptions& options, const model::GenerationOptions& generation,
                 const accel::AcceleratorDevice& accelerator) {
  const std::size_t prompts = has_one_prompt(options.input) ? 1 : options.batch;
  const bool beams = generation.num_beams > 1;
  const std::size_t each = beams ? generation.num_beams : generation.num_return_sequences;
  const std::size_t most = accelerator.most_sequences();
  if (each <= most / prompts) return;
  throw UsageError(fmt::format(
      "--batch {} with {} {} a prompt decodes {} sequences together, and the accelerator keeps the histories "
      "of {}: {}",
      prompts, each, beams ? "beams" : "sequences", prompts * each, most,
      each <= most ? fmt::format("use at most --batch {}", most / each) : fmt::format("use at most {}", most)));
}

/// `bundle`: the model, where it is one.
void generate(const GenerateOptions& options, const std::shared_ptr<const experts::Bundle>& bundle) {
  std::optional<engine::OutputFile> file;
  if (writes_file(options)) {
    file.emplace(options.output, options.resume ? engine::OutputFile::Mode::kResume : engine::OutputFile::Mode::kNew);
  }
  const bool json_lines = options.json || options.output == "-";

  engine::EngineOptions engine_setup = engine_options(options.model);
  engine_setup.buffer = buffer_options(options.buffer);
  engine_setup.bundle = bundle;
  if (on_accelerator(options.device)) {
    engine_setup.make_device = accelerator_factory(options.model.model, bundle, options.device, engine_setup.buffer);
  }
  engine::Engine engine = engine::Engine::open(options.model.model, engine_setup);
  for (const std::string& warning : engine.warnings()) warn(warning);
  const model::GenerationDefaults defaults = generation_options(options.generation, engine);
  const engine::TextGenerationOptions text_options{.generation = defaults.options,
                                                   .prefix = options.input.prefix.value_or(defaults.prefix),
                                                   .max_input_tokens = options.input.max_input_tokens,
                                                   .batch_size = options.batch,
                                                   .keep_order = !file && !json_lines};
  if (const accel::AcceleratorDevice* accelerator = accelerator_of(engine)) {
    check_batch(options, defaults.options, *accelerator);
  }
  if (file) file->begin_run(engine::run_fingerprint(engine, text_options));
  if (options.stats) tell(engine.describe());

  std::optional<Progress> progress;
  if (file) progress.emplace("generating", options.input.limit.value_or(0));
  bool streamed = false;  // a text without its end has been printed
  Skipped skipped;

  engine::TextGenerationCallbacks callbacks;
  callbacks.on_warning = [](const std::string& message) { warn(message); };
  if (!has_one_prompt(options.input) && !options.input.strict) {
    callbacks.on_skipped = [&](const engine::Prompt& prompt, const std::string& why) {
      ++skipped.prompts;
      warn(fmt::format("prompt {}: {} (skipped)", prompt.index + 1, why));
    };
  }
  if (!file && !json_lines) {
    callbacks.on_text = [&](std::string_view piece) {
      streamed = true;
      print(piece);
    };
  }
  callbacks.on_output = [&](const engine::TextOutput& output) {
    if (file) {
      file->append(output);
      progress->advance();
    } else if (json_lines) {
      print(to_text(to_json(output)) + "\n");
    } else if (streamed) {
      print("\n");
      streamed = false;
    } else if (output.texts.empty()) {
      for (const model::GeneratedSequence& sequence : output.sequences) {
        print(fmt::format("{}\n", fmt::join(sequence.tokens, " ")));
      }
    } else {
      for (const std::string& text : output.texts) print(text + "\n");
    }
  };

  const engine::PromptSource prompts = [&, source = open_prompts(options.input, skipped)] {
    std::optional<engine::Prompt> prompt = source();
    while (file && prompt && !file->begin_prompt(*prompt)) prompt = source();
    return prompt;
  };
  engine::RunStatistics statistics;
  try {
    statistics = generate_texts(engine, prompts, text_options, callbacks);
  } catch (const Error&) {
    if (streamed) print("\n");  // the message gets a line of its own
    throw;
  }
  if (file) {
    progress->finish();
    file->close();
  }
  if (options.stats) print_statistics(statistics, engine, options, json_lines);
  engine.device().finish();
  if (const accel::AcceleratorDevice* accelerator = accelerator_of(engine);
      accelerator && !accelerator->written().empty()) {
    note(accelerator->written());
  }
  if (statistics.prompts == 0 && skipped.prompts == 0 && skipped.lines == 0) {
    warn(file && file->resumes() ? "nothing was left to do: every prompt is in the output already"
                                 : "nothing was done: the input has no prompt, or none within --skip and --limit");
  }
  skipped.throw_if_any();
}

}  // namespace

void add_generate_command(CLI::App& app) {
  const auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = app.add_subcommand("generate", "Text in, text out");
  command->footer(
      "Example:\n"
      "  flame generate models/switch-dialogsum-8 --task summarization --text \"Ann: Are you coming? Bob: At six.\"\n"
      "  flame generate models/switch-dialogsum-8 --task summarization --input data/dialogues.jsonl --field dialogue "
      "--stats\n"
      "Exit code 1 when a prompt or line could not be run, with all others done; --strict stops at the first.");
  add_model_options(*command, options->model);
  add_input_options(*command, options->input);
  add_generation_options(*command, options->generation);
  add_device_options(*command, options->device);
  add_buffer_options(*command, options->buffer);
  command
      ->add_option(
          "--batch", options->batch,
          "Prompts decoded together, each written as soon as it is done; never changes a result. Seconds and lookups "
          "of --json are then the batch's until there")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("-o,--output", options->output,
                      "Write JSON lines to this file (- for standard output), each as soon as it is done");
  command->add_flag("--resume", options->resume, "Go on where the run that wrote -o's file stopped");
  command->add_flag("--json", options->json, "One JSON object a prompt on standard output");
  command->add_flag("--stats", options->stats,
                    "After the text, figures of the whole run on standard error (a buffer's and an accelerator's as "
                    "JSON with --json)");
  command->callback([options, command] {
    check(*options, command->count("--batch") > 0);
    check_device_options(*command, options->device);
    check_output_files({options->output, options->buffer.timeline, options->device.waveform},
                       {options->model.model, options->input.file, options->input.ids_file, options->device.binary});
    generate(*options, check_buffer_options(*command, options->model.model, options->buffer));
  });
}

}  // namespace flame::cli
