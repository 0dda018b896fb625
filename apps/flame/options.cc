#include "flame/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "flame/base/byte_size.h"
#include "flame/base/data_type.h"
#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/console.h"
#include "flame/experts/bundle.h"
#include "flame/io/json_lines.h"

namespace flame::cli {
namespace {

std::optional<DataType> weight_type(const std::string& name) {
  if (name == "f32") return DataType::kF32;
  if (name == "bf16") return DataType::kBF16;
  if (name == "f16") return DataType::kF16;
  return std::nullopt;
}

constexpr const char* kBufferGroup = "Experts of a bundle";

/// Seconds in "100us", "2ms", "0.5s".
double parse_seconds(const std::string& text) {
  std::size_t used = 0;
  double value = -1.0;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  const std::string unit = text.substr(used);
  const double scale = unit == "us" ? 1e-6 : unit == "ms" ? 1e-3 : unit == "s" ? 1.0 : 0.0;
  if (used == 0 || value < 0.0 || scale == 0.0) {
    throw UsageError(fmt::format("--storage-latency: expected a time such as 100us, 2ms or 0.5s, found \"{}\"", text));
  }
  return value * scale;
}

model::EarlyStopping early_stopping(const std::string& name) {
  if (name == "true") return model::EarlyStopping::kTrue;
  if (name == "never") return model::EarlyStopping::kNever;
  return model::EarlyStopping::kFalse;
}

io::JsonLinesOptions line_options(const InputOptions& options) {
  return {.strict = options.strict, .on_bad_line = [](const std::string& message) { warn(message + " (skipped)"); }};
}

/// Ids from a line such as {"tokens": [71, 3, 1]}; throws FormatError.
std::vector<std::int32_t> ids_of(const Json& line, const std::string& path, std::uint64_t number) {
  const JsonView view(line, fmt::format("{}: line {}", path, number));
  const JsonView ids = view.at("tokens");
  std::vector<std::int32_t> tokens;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    tokens.push_back(static_cast<std::int32_t>(ids.element(i).as_integer(0, std::numeric_limits<std::int32_t>::max())));
  }
  if (tokens.empty()) ids.fail("expected at least one token id");
  return tokens;
}

engine::PromptSource from_texts(std::vector<std::string> texts) {
  return [texts = std::move(texts), next = std::size_t{0}]() mutable -> std::optional<engine::Prompt> {
    if (next == texts.size()) return std::nullopt;
    const std::size_t index = next++;
    return engine::Prompt{.index = index, .text = texts[index], .tokens = {}};
  };
}

engine::PromptSource from_text_lines(const InputOptions& options) {
  auto reader = std::make_shared<io::JsonLinesReader>(options.file, line_options(options));
  return [reader, field = options.field]() -> std::optional<engine::Prompt> {
    std::optional<std::string> text = reader->next_text(field);
    if (!text) return std::nullopt;
    return engine::Prompt{.index = reader->line() - 1, .text = std::move(*text), .tokens = {}};
  };
}

engine::PromptSource from_id_lines(const InputOptions& options) {
  auto reader = std::make_shared<io::JsonLinesReader>(options.ids_file, line_options(options));
  return [reader, path = options.ids_file]() -> std::optional<engine::Prompt> {
    while (std::optional<Json> line = reader->next()) {
      try {
        return engine::Prompt{.index = reader->line() - 1, .text = {}, .tokens = ids_of(*line, path, reader->line())};
      } catch (const FormatError& error) {
        reader->report_bad_line(error.what());
      }
    }
    return std::nullopt;
  };
}

engine::PromptSource unlimited_prompts(const InputOptions& options) {
  if (!options.texts.empty()) return from_texts(options.texts);
  if (!options.file.empty()) return from_text_lines(options);
  if (!options.ids_file.empty()) return from_id_lines(options);
  if (input_is_terminal()) note("reading the prompt from the terminal; end it with Ctrl-D");
  return from_texts({std::string(std::istreambuf_iterator<char>(std::cin), {})});
}

}  // namespace

void add_model_options(CLI::App& command, ModelOptions& options) {
  command.add_option("MODEL", options.model, "Directory of a Hugging Face checkpoint, or a bundle")->required();
  command
      .add_option("--dtype", options.type,
                  "How weights are held in memory: auto (as stored), f32, bf16, f16. Sums are always fp32")
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
          .make_device = nullptr,
          .decorate = nullptr};
}

void add_buffer_options(CLI::App& command, BufferFlags& flags) {
  const std::string group = kBufferGroup;
  command.add_option("--expert-memory", flags.expert_memory, "Memory for experts, for example 16MiB (default: all)")
      ->group(group);
  command.add_option("--slots", flags.slots, "Memory for this many experts instead")
      ->check(CLI::PositiveNumber)
      ->excludes("--expert-memory")
      ->group(group);
  command
      .add_option("--predictor", flags.predictor,
                  "Which experts are loaded ahead: auto (the best that the bundle's profile has data for: mix-hidden, "
                  "mix, cepr), none, cepr, incremental, popularity, random, mix, …")
      ->capture_default_str()
      ->group(group);
  command.add_option("--context", flags.context, "m: the decisions that the predictor looks back on")
      ->check(CLI::Range(0, 6))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--replacement", flags.replacement,
                  "Which expert gives way: next-use, lru, lifo, lfu, layer-distance, static")
      ->capture_default_str()
      ->group(group);
  command.add_option("--storage", flags.storage, "How experts are read: auto, io_uring, threads, mmap")
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
  if (!flags.expert_memory.empty()) options.budget_bytes = parse_byte_size(flags.expert_memory, "--expert-memory");
  options.slots = flags.slots;
  options.predictor = flags.predictor;
  options.context = flags.context;
  options.replacement = experts::parse_replacement(flags.replacement);
  options.storage = io::parse_storage_backend(flags.storage);
  if (!flags.storage_bandwidth.empty()) {
    std::string_view size = flags.storage_bandwidth;
    if (size.ends_with("/s")) size.remove_suffix(2);
    options.throttle.bytes_per_second = static_cast<double>(parse_byte_size(size, "--storage-bandwidth"));
  }
  if (!flags.storage_latency.empty()) options.throttle.latency_seconds = parse_seconds(flags.storage_latency);
  options.mapped = flags.mapped;
  options.prefetch = !flags.no_prefetch;
  options.verify = !flags.no_verify;
  options.timeline = flags.timeline;
  return options;
}

void check_buffer_options(const CLI::App& command, const std::string& model) {
  const bool mapped = command.count("--mapped") > 0;
  const bool bundle = experts::Bundle::is_bundle(model);
  if (bundle && !mapped) return;
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_group() != kBufferGroup || option->count() == 0) continue;
    if (!bundle) {
      throw UsageError(fmt::format(
          "{} has no effect: {} is a checkpoint, whose experts are all in memory; make a bundle with `flame pack {} "
          "-o BUNDLE`",
          option->get_name(), model, model));
    }
    if (option->get_name() != "--mapped") {
      throw UsageError(fmt::format("{} has no effect with --mapped, which has no slots", option->get_name()));
    }
  }
}

void add_input_options(CLI::App& command, InputOptions& options) {
  const std::string group = "Input";
  command.add_option("--text", options.texts, "A prompt (may be repeated)")->group(group);
  command.add_option("--input", options.file, "JSON-lines file with one prompt a line; - for standard input")
      ->group(group);
  command.add_option("--field", options.field, "The key of --input's lines that holds the prompt")->group(group);
  command
      .add_option("--input-ids", options.ids_file,
                  "JSON-lines file of token ids, {\"tokens\": [..]} a line, for a model without tokenizer")
      ->group(group);
  command.add_option("--prefix", options.prefix, "Put before every prompt (default: the task's)")->group(group);
  command.add_option("--limit", options.limit, "Stop after this many prompts")->group(group);
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

engine::PromptSource open_prompts(const InputOptions& options, std::set<std::uint64_t> finished) {
  return [source = unlimited_prompts(options), finished = std::move(finished), limit = options.limit,
          seen = std::size_t{0}]() mutable -> std::optional<engine::Prompt> {
    while (!limit || seen < *limit) {
      std::optional<engine::Prompt> prompt = source();
      if (!prompt) return std::nullopt;
      ++seen;
      if (!finished.contains(prompt->index)) return prompt;
    }
    return std::nullopt;
  };
}

std::vector<engine::Prompt> read_prompts(const InputOptions& options) {
  const engine::PromptSource source = open_prompts(options);
  std::vector<engine::Prompt> prompts;
  while (std::optional<engine::Prompt> prompt = source()) prompts.push_back(std::move(*prompt));
  return prompts;
}

void add_generation_options(CLI::App& command, GenerationFlags& flags) {
  const std::string group = "Generation (defaults: the model's own)";
  command.add_option("--task", flags.task, "A task of the model's config, for example summarization")->group(group);
  command.add_option("--max-new-tokens", flags.max_new_tokens, "Tokens to generate at most")
      ->check(CLI::Range(1, 1'000'000))
      ->group(group);
  command.add_option("--min-new-tokens", flags.min_new_tokens, "Tokens before the end token is allowed")->group(group);
  command.add_option("--max-length", flags.max_length, "As --max-new-tokens, the start token counted")->group(group);
  command.add_option("--min-length", flags.min_length, "As --min-new-tokens, the start token counted")->group(group);
  command.add_option("--beams", flags.beams, "Beams of beam search; 1 is greedy")
      ->check(CLI::Range(1, 1024))
      ->group(group);
  command.add_option("--return", flags.returned, "Sequences returned a prompt")
      ->check(CLI::Range(1, 1024))
      ->group(group);
  command.add_option("--length-penalty", flags.length_penalty, "Exponent of the length in beam scores")->group(group);
  command.add_option("--early-stopping", flags.early_stopping, "When beam search ends: false, true, never")
      ->check(CLI::IsMember({"false", "true", "never"}))
      ->group(group);
  command.add_option("--no-repeat-ngram", flags.no_repeat_ngram, "No n-gram of this size occurs twice")->group(group);
  command.add_option("--repetition-penalty", flags.repetition_penalty, "Above 1 makes used tokens less likely")
      ->check(CLI::PositiveNumber)
      ->group(group);
  command.add_flag("--sample", flags.sample, "Draw tokens at random instead of taking the likeliest")->group(group);
  command.add_option("--temperature", flags.temperature, "Divides the logits when sampling")
      ->check(CLI::PositiveNumber)
      ->group(group);
  command.add_option("--top-k", flags.top_k, "Sample among the k likeliest; 0: all")->group(group);
  command.add_option("--top-p", flags.top_p, "Sample among the likeliest of this total probability")
      ->check(CLI::Range(0.0, 1.0))
      ->group(group);
  command.add_option("--seed", flags.seed, "Seed of sampling: the same seed gives the same text")->group(group);
}

model::GenerationDefaults generation_options(const GenerationFlags& flags, const engine::Engine& engine) {
  model::GenerationDefaults result = engine.generation_defaults(flags.task);
  for (const std::string& warning : result.warnings) warn(warning);

  model::GenerationOptions& options = result.options;
  if (flags.max_new_tokens && flags.max_length) {
    throw UsageError("--max-new-tokens and --max-length exclude each other");
  }
  if (flags.max_new_tokens) options.max_new_tokens = flags.max_new_tokens;
  if (flags.max_length) {
    options.max_length = flags.max_length;
    options.max_new_tokens.reset();
  }
  if (flags.min_new_tokens) options.min_new_tokens = flags.min_new_tokens;
  if (flags.min_length) {
    options.min_length = *flags.min_length;
    options.min_new_tokens.reset();
  }
  const auto set = [](const auto& flag, auto& option) {
    if (flag) option = *flag;
  };
  set(flags.beams, options.num_beams);
  set(flags.returned, options.num_return_sequences);
  set(flags.length_penalty, options.length_penalty);
  set(flags.no_repeat_ngram, options.no_repeat_ngram_size);
  set(flags.repetition_penalty, options.repetition_penalty);
  set(flags.temperature, options.temperature);
  set(flags.top_k, options.top_k);
  set(flags.top_p, options.top_p);
  set(flags.seed, options.seed);
  if (flags.early_stopping) options.early_stopping = early_stopping(*flags.early_stopping);
  if (flags.sample) {
    options.do_sample = true;
    if (!flags.beams) options.num_beams = 1;  // a task's beams give way to the wish to sample
  }
  if (!options.do_sample && (flags.temperature || flags.top_k || flags.top_p || flags.seed)) {
    throw UsageError("--temperature, --top-k, --top-p and --seed have no effect without --sample");
  }
  if (options.num_beams == 1 && (flags.length_penalty || flags.early_stopping)) {
    throw UsageError("--length-penalty and --early-stopping have no effect without --beams of 2 or more");
  }
  model::check_options(options, engine.config().vocab_size);
  return result;
}

}  // namespace flame::cli
