#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

#include "flame/base/byte_size.h"
#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/base/progress.h"
#include "flame/commands.h"
#include "flame/console.h"
#include "flame/device_options.h"
#include "flame/engine/engine.h"
#include "flame/engine/text_generation.h"
#include "flame/eval/buffer_report.h"
#include "flame/experts/buffered_device.h"
#include "flame/io/file.h"
#include "flame/io/json_lines.h"
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

void check(const GenerateOptions& options) {
  check_input_options(options.input);
  if (options.resume && options.output.empty()) throw UsageError("--resume has no effect without -o FILE");
  if (options.json && !options.output.empty()) {
    throw UsageError("--json has no effect with -o: the file holds JSON lines already");
  }
}

/// The output file of -o, and which prompts an earlier run finished.
struct OutputFile {
  io::JsonLinesWriter writer;
  std::set<std::uint64_t> finished;
};

OutputFile open_output(const GenerateOptions& options) {
  io::FileSystem& files = io::FileSystem::real();
  if (!files.exists(options.output)) return {io::JsonLinesWriter::create(options.output), {}};
  if (!options.resume) {
    throw UsageError(fmt::format("{}: exists already; go on from it with --resume, or remove it", options.output));
  }
  std::set<std::uint64_t> finished;
  const io::FinishedLines lines =
      io::scan_finished_lines(options.output, files, [&](std::uint64_t number, const Json& line) {
        const JsonView view(line, fmt::format("{}: line {}", options.output, number));
        finished.insert(view.at("index").as_unsigned());
      });
  return {io::JsonLinesWriter::resume(options.output, lines), std::move(finished)};
}

void print_statistics(const engine::RunStatistics& statistics, const engine::Engine& engine, bool json) {
  tell(fmt::format(
      "{} tokens in, {} tokens out; encoder {:.2f} s, decoder {:.2f} s, {:.1f} tokens/s; first token after {:.3f} s",
      statistics.input_tokens, statistics.output_tokens, statistics.encoder_seconds, statistics.decoder_seconds,
      statistics.tokens_per_second(),
      statistics.first_token_seconds / static_cast<double>(std::max<std::uint64_t>(1, statistics.batches))));
  const model::MoeStatistics& experts = statistics.experts;
  tell(
      fmt::format("experts: {} hits, {} late, {} misses; {} on demand, {} prefetched and used, {} prefetched in vain; "
                  "waited {:.3f} s",
                  experts.hits, experts.late, experts.misses, format_byte_size(experts.bytes_demand),
                  format_byte_size(experts.bytes_prefetch_used), format_byte_size(experts.bytes_prefetch_wasted),
                  experts.wait_seconds));
  if (const std::optional<std::string> report = accelerator_report(engine)) tell(*report);
  if (const auto* buffered = dynamic_cast<const experts::BufferedDevice*>(&engine.device())) {
    if (json) {
      tell(to_text(Json{{"buffer", eval::buffer_json(*buffered, statistics.decoder_seconds)}}));
    } else {
      tell(eval::describe_buffer(*buffered, statistics.decoder_seconds));
    }
  }
  tell(fmt::format("memory: peak {}, of which weights {}, keys and values {}",
                   format_byte_size(statistics.peak_memory_bytes), format_byte_size(engine.weight_bytes()),
                   format_byte_size(statistics.cache_bytes)));
}

void generate(const GenerateOptions& options) {
  check(options);
  std::optional<OutputFile> file;
  if (!options.output.empty()) file = open_output(options);

  engine::EngineOptions engine_setup = engine_options(options.model);
  engine_setup.buffer = buffer_options(options.buffer);
  if (on_accelerator(options.device)) {
    engine_setup.make_device = accelerator_factory(options.model.model, options.device, engine_setup.buffer);
  }
  engine::Engine engine = engine::Engine::open(options.model.model, engine_setup);
  for (const std::string& warning : engine.warnings()) warn(warning);
  const model::GenerationDefaults defaults = generation_options(options.generation, engine);
  const engine::TextGenerationOptions text_options{.generation = defaults.options,
                                                   .prefix = options.input.prefix.value_or(defaults.prefix),
                                                   .batch_size = options.batch};
  if (options.stats) tell(engine.describe());

  std::optional<Progress> progress;
  if (file) progress.emplace("generating", options.input.limit.value_or(0));
  bool streamed = false;
  std::uint64_t skipped = 0;

  engine::TextGenerationCallbacks callbacks;
  callbacks.on_warning = [](const std::string& message) { warn(message); };
  const bool many = options.input.texts.size() > 1 || !options.input.file.empty() || !options.input.ids_file.empty();
  if (many && !options.input.strict) {
    callbacks.on_skipped = [&](const engine::Prompt& prompt, const std::string& why) {
      ++skipped;
      warn(fmt::format("prompt {}: {} (skipped)", prompt.index + 1, why));
    };
  }
  if (!file && !options.json) {
    callbacks.on_text = [&](std::string_view piece) {
      streamed = true;
      print(piece);
    };
  }
  callbacks.on_output = [&](const engine::TextOutput& output) {
    if (file) {
      file->writer.append(to_json(output));
      progress->advance();
    } else if (options.json) {
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

  const engine::PromptSource prompts =
      open_prompts(options.input, file ? std::move(file->finished) : std::set<std::uint64_t>{});
  const engine::RunStatistics statistics = generate_texts(engine, prompts, text_options, callbacks);
  if (file) {
    progress->finish();
    file->writer.close();
  }
  if (options.stats) print_statistics(statistics, engine, options.json);
  if (skipped > 0) throw ModelError(fmt::format("{} prompts could not be run (see the warnings above)", skipped));
}

}  // namespace

void add_generate_command(CLI::App& app) {
  const auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = app.add_subcommand("generate", "Text in, text out");
  command->footer(
      "Example:\n"
      "  flame generate models/switch-dialogsum-8 --task summarization --text \"Ann: Are you coming? Bob: At six.\"\n"
      "  flame generate models/switch-dialogsum-8 --task summarization --input data/dialogues.jsonl --field dialogue "
      "--stats");
  add_model_options(*command, options->model);
  add_input_options(*command, options->input);
  add_generation_options(*command, options->generation);
  add_device_options(*command, options->device);
  add_buffer_options(*command, options->buffer);
  command
      ->add_option(
          "--batch", options->batch,
          "Prompts decoded together and written when all are done; never changes a result. The figures are the batch's")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("-o,--output", options->output, "Write JSON lines to this file, each as soon as it is done");
  command->add_flag("--resume", options->resume, "Go on where the run that wrote -o's file stopped");
  command->add_flag("--json", options->json, "One JSON object a prompt on standard output");
  command->add_flag("--stats", options->stats,
                    "After the text, figures of the whole run on standard error (a buffer's as JSON with --json)");
  command->callback([options, command] {
    check_device_options(*command, options->device);
    check_buffer_options(*command, options->model.model);
    generate(*options);
  });
}

}  // namespace flame::cli
