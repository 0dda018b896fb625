#include "flame/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <memory>
#include <utility>

#include "flame/base/byte_size.h"
#include "flame/base/data_type.h"
#include "flame/base/duration.h"
#include "flame/base/error.h"
#include "flame/console.h"
#include "flame/engine/prompt_source.h"
#include "flame/experts/buffer_checks.h"
#include "flame/experts/bundle.h"
#include "flame/io/async_reader.h"
#include "flame/io/atomic_output.h"
#include "flame/io/descriptor_input.h"
#include "flame/io/file.h"
#include "flame/routing/predictor.h"

namespace flame::cli {
namespace {

std::optional<DataType> weight_type(const std::string& name) {
  if (name == "f32") return DataType::kF32;
  if (name == "bf16") return DataType::kBF16;
  if (name == "f16") return DataType::kF16;
  return std::nullopt;
}

constexpr const char* kBufferGroup = "Experts of a bundle";
constexpr const char* kGenerationGroup = "Generation (defaults: the model's own)";

model::EarlyStopping early_stopping(const std::string& name) {
  if (name == "true") return model::EarlyStopping::kTrue;
  if (name == "never") return model::EarlyStopping::kNever;
  return model::EarlyStopping::kFalse;
}

engine::PromptSource all_prompts(const InputOptions& options, Skipped& skipped) {
  if (!options.texts.empty()) return engine::prompts_of(options.texts);
  if (!options.file.empty()) return engine::text_lines(options.file, options.field, line_options(options, skipped));
  if (!options.ids_file.empty()) return engine::token_lines(options.ids_file, line_options(options, skipped));
  if (input_is_terminal()) note("reading the prompt from the terminal; end it with Ctrl-D");
  return engine::prompts_of({io::read_all(STDIN_FILENO, "standard input")});
}

}  // namespace

void warn_of_abandoned(const std::string& output) {
  for (const std::filesystem::path& left : io::abandoned_outputs(output)) {
    warn(fmt::format("{}: left behind by a run that was killed; it can be removed", left.string()));
  }
}

void warn_of_few_samples(const std::string& file, std::size_t examples, std::size_t asked) {
  if (examples >= asked) return;
  warn(fmt::format("{}: has {} lines, fewer than the {} samples asked for (--samples); all are used", file, examples,
                   asked));
}

void refuse_flags(const CLI::App& command, std::initializer_list<const char*> flags, std::string_view why) {
  for (const char* flag : flags) {
    if (command.count(flag) > 0) throw UsageError(fmt::format("{} has no effect {}", flag, why));
  }
}

void check_output_files(const std::vector<std::string>& outputs, const std::vector<std::filesystem::path>& sources) {
  std::vector<std::filesystem::path> taken;
  for (const std::string& output : outputs) {
    if (output.empty() || output == "-") continue;
    io::require_not_read(output, sources);
    io::require_not_written(output, taken);
    const std::filesystem::path directory = std::filesystem::absolute(output).parent_path();
    if (io::FileSystem::real().exists(directory / "flame.json")) {
      throw UsageError(
          fmt::format("{}: lies in a bundle, whose flame.json names all its files; name one elsewhere", output));
    }
    taken.emplace_back(output);
  }
}

void refuse_uncountable(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (!option->get_type_name().starts_with("UINT")) continue;
    option->check(CLI::Validator(
        [](std::string& text) -> std::string {
          if (text.starts_with('-')) return fmt::format("expected a number that is not negative, found {}", text);
          // CLI11 would take the largest number there is instead.
          std::uint64_t number = 0;
          const bool too_large =
              std::from_chars(text.data(), text.data() + text.size(), number).ec == std::errc::result_out_of_range;
          return too_large ? fmt::format("{} is more than can be counted", text) : std::string();
        },
        ""));
  }
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) refuse_uncountable(*command);
}

void refuse_generation_flags(const CLI::App& command, std::string_view why) {
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_group() == kGenerationGroup && option->count() > 0) {
      throw UsageError(fmt::format("{} has no effect {}", option->get_name(), why));
    }
  }
}

CLI::Validator above_zero() {
  return {[](std::string& text) {
            double value = 0.0;
            const bool number = CLI::detail::lexical_cast(text, value);
            return number && value > 0.0 ? std::string() : fmt::format("expected a number above 0, found {}", text);
          },
          "ABOVE 0"};
}

CLI::Validator between(double least, double most) {
  return {[least, most](std::string& text) {
            double value = 0.0;
            const bool number = CLI::detail::lexical_cast(text, value);
            return number && value >= least && value <= most
                       ? std::string()
                       : fmt::format("expected a number from {} to {}, found {}", least, most, text);
          },
          fmt::format("{} to {}", least, most)};
}

void add_model_options(CLI::App& command, ModelOptions& options) {
  command.add_option("MODEL", options.model, "Directory of a Hugging Face checkpoint, or a bundle")->required();
  command
      .add_option(
          "--dtype", options.type,
          "How weights are held in memory: auto (as stored), f32, bf16, f16. Sums are always fp32; bf16 also keeps "
          "keys and values in bf16 and rounds the encoder's inputs to it, for speed")
      ->check(CLI::IsMember({"auto", "f32", "bf16", "f16"}))
      ->capture_default_str()
      ->group("Model");
  command.add_option("--threads", options.threads, "Threads that compute (default: every processor)")
      ->check(CLI::Range(1, 1024))
      ->group("Model");
  command.add_flag("--skip-weight-check", options.skip_weight_check, "Do not look for NaN and infinity when loading")
      ->group("Model");
}

engine::EngineOptions engine_options(const ModelOptions& options) {
  return {.type = weight_type(options.type),
          .threads = options.threads,
          .check_finite = !options.skip_weight_check,
          .buffer = {},
          .bundle = nullptr,
          .make_device = nullptr,
          .decorate = nullptr};
}

void add_buffer_options(CLI::App& command, BufferFlags& flags) {
  const std::string group = kBufferGroup;
  command.add_option("--expert-memory", flags.expert_memory, "Memory for experts, for example 16MiB (default: all)")
      ->group(group);
  command.add_option("--slots", flags.slots, "Memory for this many experts instead")
      ->check(above_zero())
      ->excludes("--expert-memory")
      ->group(group);
  command
      .add_option("--predictor", flags.predictor,
                  fmt::format("Which experts are loaded ahead: auto (the best that the bundle's profile has data for: "
                              "mix-hidden, mix, cepr), none, {}",
                              fmt::join(routing::causal_predictor_names(), ", ")))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--context", flags.context,
                  "m: the decisions that the predictor looks back on (default: 3, or what the profile counted where "
                  "that is less)")
      ->check(CLI::Range(0, 6))
      ->group(group);
  command
      .add_option("--replacement", flags.replacement,
                  fmt::format("Which expert gives way: {}", fmt::join(experts::replacement_names(), ", ")))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--storage", flags.storage,
                  fmt::format("How experts are read: {}", fmt::join(io::storage_backend_names(), ", ")))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--storage-bandwidth", flags.storage_bandwidth,
                  "Behave like a storage of so many bytes a second, for example 500MB/s")
      ->group(group);
  command
      .add_option("--storage-latency", flags.storage_latency,
                  "Behave like a storage of this latency, for example 100us")
      ->group(group);
  command
      .add_option("--storage-timeout", flags.storage_timeout,
                  "An expert that the storage has not brought after so long ends the run (default: 30s)")
      ->group(group);
  command
      .add_flag("--mapped", flags.mapped,
                "For comparison: no slots; compute in a memory map of the file, kept or dropped by the kernel")
      ->group(group);
  command.add_flag("--no-prefetch", flags.no_prefetch, "Load experts on demand only")->group(group);
  command.add_flag("--no-verify", flags.no_verify, "Do not compare loaded experts with their checksums")->group(group);
  command.add_option("--timeline", flags.timeline, "Write what ran when to this file (Chrome trace, Perfetto)")
      ->group(group);
}

experts::BufferOptions buffer_options(const BufferFlags& flags) {
  experts::BufferOptions options;
  if (!flags.expert_memory.empty()) {
    options.budget_bytes = parse_byte_size(flags.expert_memory, "--expert-memory");
    if (options.budget_bytes == 0) throw UsageError("--expert-memory: expected a size above 0, found 0");
  }
  options.slots = flags.slots;
  options.predictor = flags.predictor;
  options.context = flags.context;
  options.replacement = experts::parse_replacement(flags.replacement);
  options.storage = io::parse_storage_backend(flags.storage);
  if (!flags.storage_bandwidth.empty()) {
    options.throttle.bytes_per_second = parse_bandwidth(flags.storage_bandwidth, "--storage-bandwidth");
  }
  if (!flags.storage_latency.empty())
    options.throttle.latency_seconds = parse_duration(flags.storage_latency, "--storage-latency");
  if (!flags.storage_timeout.empty()) {
    options.timeout_seconds = parse_duration(flags.storage_timeout, "--storage-timeout");
    if (options.timeout_seconds == 0.0) throw UsageError("--storage-timeout 0: no storage answers at once");
  }
  options.mapped = flags.mapped;
  options.prefetch = !flags.no_prefetch;
  options.verify = !flags.no_verify;
  options.timeline = flags.timeline;
  return options;
}

std::shared_ptr<const experts::Bundle> check_buffer_options(const CLI::App& command, const std::string& model,
                                                            const BufferFlags& flags) {
  const bool mapped = command.count("--mapped") > 0;
  std::shared_ptr<const experts::Bundle> bundle;
  if (experts::Bundle::is_bundle(model)) bundle = std::make_shared<const experts::Bundle>(experts::Bundle::open(model));
  if (bundle != nullptr && !mapped) {
    const auto given = [&](std::string_view option) { return command.count(std::string(option)) > 0; };
    for (const std::string& message : experts::options_without_effect(*bundle, buffer_options(flags), given)) {
      throw UsageError(message);
    }
    const CLI::Option* device = command.get_option_no_throw("--device");
    const bool on_cpu = device == nullptr || device->count() == 0 || device->as<std::string>() == "cpu";
    if (on_cpu && flags.slots > bundle->grid().size()) {
      warn(fmt::format("--slots {}: {} has {} experts, which are all in memory then", flags.slots, model,
                       bundle->grid().size()));
    }
    return bundle;
  }
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_group() != kBufferGroup || option->count() == 0) continue;
    if (bundle == nullptr) {
      throw UsageError(fmt::format(
          "{} has no effect: {} is a checkpoint, whose experts are all in memory; make a bundle with `flame pack {} "
          "-o BUNDLE`",
          option->get_name(), model, model));
    }
    if (option->get_name() != "--mapped" && option->get_name() != "--storage-timeout") {
      throw UsageError(fmt::format("{} has no effect with --mapped, which has no slots", option->get_name()));
    }
  }
  return bundle;
}

void add_input_options(CLI::App& command, InputOptions& options) {
  const std::string group = "Input";
  command.add_option("--text", options.texts, "A prompt (may be repeated)")->allow_extra_args(false)->group(group);
  command.add_option("--input", options.file, "JSON-lines file with one prompt a line; - for standard input")
      ->group(group);
  command.add_option("--field", options.field, "The key of --input's lines that holds the prompt")->group(group);
  command
      .add_option("--input-ids", options.ids_file,
                  "JSON-lines file of token ids, {\"tokens\": [..]} a line, for a model without tokenizer")
      ->group(group);
  command.add_option("--prefix", options.prefix, "Put before every prompt (default: the task's)")->group(group);
  command
      .add_option("--max-input-tokens", options.max_input_tokens,
                  "Cut a longer prompt to its first tokens and the end token, so many in all")
      ->check(above_zero())
      ->group(group);
  command.add_option("--skip", options.skip, "Leave out this many prompts at the beginning")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  command.add_option("--limit", options.limit, "Stop after this many prompts")->check(above_zero())->group(group);
  command.add_flag("--strict", options.strict, "Stop at a bad line instead of skipping it")->group(group);
}

void check_input_options(const InputOptions& options) {
  const int sources =
      (options.texts.empty() ? 0 : 1) + (options.file.empty() ? 0 : 1) + (options.ids_file.empty() ? 0 : 1);
  if (sources > 1) throw UsageError("--text, --input and --input-ids exclude each other");
  if (!options.file.empty() && options.field.empty()) {
    throw UsageError("--input needs --field: the key that holds the prompt, for example --field dialogue");
  }
  if (options.file.empty() && !options.field.empty()) throw UsageError("--field has no effect without --input");
  if (!options.ids_file.empty() && options.prefix) throw UsageError("--prefix has no effect with --input-ids");
  if (options.strict && options.file.empty() && options.ids_file.empty()) {
    throw UsageError("--strict has no effect without --input or --input-ids");
  }
}

bool has_one_prompt(const InputOptions& options) {
  return options.file.empty() && options.ids_file.empty() && options.texts.size() <= 1;
}

void Skipped::throw_if_any() const {
  if (prompts == 0 && lines == 0) return;
  std::string what;
  if (prompts > 0) what = fmt::format("{} {}", prompts, prompts == 1 ? "prompt" : "prompts");
  if (lines > 0) {
    what += fmt::format("{}{} bad {}", what.empty() ? "" : " and ", lines, lines == 1 ? "line" : "lines");
  }
  throw ModelError(fmt::format("{} could not be run (see the warnings above); all others are done", what));
}

io::JsonLinesOptions line_options(const InputOptions& options, Skipped& skipped) {
  return {.strict = options.strict, .on_bad_line = [&skipped](const std::string& message) {
            ++skipped.lines;
            warn(message + " (skipped)");
          }};
}

engine::PromptSource open_prompts(const InputOptions& options, Skipped& skipped) {
  return engine::part_of<engine::Prompt>(all_prompts(options, skipped), options.skip, options.limit);
}

void add_generation_options(CLI::App& command, GenerationFlags& flags) {
  const std::string group = kGenerationGroup;
  command.add_option("--task", flags.task, "A task of the model's config, for example summarization")->group(group);
  command.add_option("--max-new-tokens", flags.wanted.max_new_tokens, "Tokens to generate at most")
      ->check(CLI::Range(1, 1'000'000))
      ->group(group);
  command.add_option("--min-new-tokens", flags.wanted.min_new_tokens, "Tokens before the end token is allowed")
      ->group(group);
  command.add_option("--max-length", flags.wanted.max_length, "As --max-new-tokens, the start token counted")
      ->group(group);
  command.add_option("--min-length", flags.wanted.min_length, "As --min-new-tokens, the start token counted")
      ->group(group);
  command.add_option("--beams", flags.wanted.beams, "Beams of beam search; 1 is greedy")
      ->check(CLI::Range(1, 1024))
      ->group(group);
  command.add_option("--return", flags.wanted.returned, "Sequences returned a prompt")
      ->check(CLI::Range(1, 1024))
      ->group(group);
  command.add_option("--length-penalty", flags.wanted.length_penalty, "Exponent of the length in beam scores")
      ->group(group);
  command.add_option("--early-stopping", flags.early_stopping, "When beam search ends: false, true, never")
      ->check(CLI::IsMember({"false", "true", "never"}))
      ->group(group);
  command.add_option("--no-repeat-ngram", flags.wanted.no_repeat_ngram, "No n-gram of this size occurs twice")
      ->group(group);
  command.add_option("--repetition-penalty", flags.wanted.repetition_penalty, "Above 1 makes used tokens less likely")
      ->check(above_zero())
      ->group(group);
  command
      .add_flag_function(
          "--sample,!--no-sample", [&flags](std::int64_t given) { flags.wanted.sample = given > 0; },
          "Draw tokens at random instead of taking the likeliest; --no-sample where the model's files ask for it")
      ->group(group);
  command.add_option("--temperature", flags.wanted.temperature, "Divides the logits when sampling")
      ->check(above_zero())
      ->group(group);
  command.add_option("--top-k", flags.wanted.top_k, "Sample among the k likeliest; 0: all")->group(group);
  command.add_option("--top-p", flags.wanted.top_p, "Sample among the likeliest of this total probability")
      ->check(CLI::Range(0.0, 1.0))
      ->group(group);
  command.add_option("--seed", flags.wanted.seed, "Seed of sampling: the same seed gives the same text")->group(group);
}

model::GenerationDefaults generation_options(const GenerationFlags& flags, const engine::Engine& engine) {
  model::GenerationDefaults result = engine.generation_defaults(flags.task);
  model::GenerationOverrides wanted = flags.wanted;
  if (!flags.early_stopping.empty()) wanted.early_stopping = early_stopping(flags.early_stopping);
  model::apply(wanted, engine.config().vocab_size, result);
  for (const std::string& warning : result.warnings) warn(warning);
  return result;
}

}  // namespace flame::cli
