#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flame/engine/engine.h"
#include "flame/engine/text_generation.h"
#include "flame/experts/buffer_options.h"
#include "flame/io/json_lines.h"
#include "flame/model/generation_overrides.h"

namespace CLI {
class App;
class Validator;
}  // namespace CLI

// Groups of options that several subcommands share: each is declared, checked and explained once.
namespace flame::cli {

/// Refuses what is not a number above 0, and says so.
[[nodiscard]] CLI::Validator above_zero();
/// As CLI::Range, which lets "nan" through.
[[nodiscard]] CLI::Validator between(double least, double most);

/// CLI11 takes "-1" for a huge number where an option is an unsigned one, and the largest there is for one beyond it:
/// refuses both for all options that `app` and its subcommands have by now.
void refuse_uncountable(CLI::App& app);

/// Throws UsageError "FLAG has no effect WHY" for the first of `flags` that was given on the command line.
void refuse_flags(const CLI::App& command, std::initializer_list<const char*> flags, std::string_view why);

/// Warns of what killed runs to the same output have left beside it.
void warn_of_abandoned(const std::string& output);

/// Warns when a calibration file gave fewer examples than were asked for.
void warn_of_few_samples(const std::string& file, std::size_t examples, std::size_t asked);

/// Throws UsageError when one of the files that a run writes is one of `sources`, which it reads, lies in one of them
/// or in a bundle, whose flame.json names all that is in it, or is named twice. Empty names and "-" are passed over.
void check_output_files(const std::vector<std::string>& outputs, const std::vector<std::filesystem::path>& sources);

/// Which model, and how it is held. `flame generate MODEL --dtype bf16 --threads 2`.
struct ModelOptions {
  std::string model;
  std::string type = "auto";
  std::size_t threads = 0;
  bool skip_weight_check = false;
};
void add_model_options(CLI::App& command, ModelOptions& options);
[[nodiscard]] engine::EngineOptions engine_options(const ModelOptions& options);

/// How much of a bundle's experts is in memory, and what is loaded ahead.
struct BufferFlags {
  std::string expert_memory;
  std::size_t slots = 0;
  std::string predictor = "auto";
  std::optional<std::uint32_t> context;
  std::string replacement = "next-use";
  std::string storage = "auto";
  std::string storage_bandwidth;
  std::string storage_latency;
  std::string storage_timeout;
  bool mapped = false;
  bool no_prefetch = false;
  bool no_verify = false;
  std::string timeline;
};
void add_buffer_options(CLI::App& command, BufferFlags& flags);
/// Throws UsageError for values that cannot be read.
[[nodiscard]] experts::BufferOptions buffer_options(const BufferFlags& flags);
/// Throws UsageError naming a flag given on `command` that changes nothing with `model`: any at all for a checkpoint,
/// whose experts are all in memory. Returns the model opened, where it is a bundle, else null.
[[nodiscard]] std::shared_ptr<const experts::Bundle> check_buffer_options(const CLI::App& command,
                                                                          const std::string& model,
                                                                          const BufferFlags& flags);

/// Where the prompts come from: --text, --input with --field, --input-ids, or standard input.
struct InputOptions {
  std::vector<std::string> texts;
  std::string file;
  std::string field;
  std::string ids_file;
  std::optional<std::string> prefix;
  std::optional<std::size_t> max_input_tokens;
  std::size_t skip = 0;
  std::optional<std::size_t> limit;
  bool strict = false;
};
void add_input_options(CLI::App& command, InputOptions& options);
/// Throws UsageError for options that exclude each other or have no effect together.
void check_input_options(const InputOptions& options);
/// True for one --text, or the whole of standard input.
[[nodiscard]] bool has_one_prompt(const InputOptions& options);

/// What of the input could not be run, counted over a command.
struct Skipped {
  std::uint64_t prompts = 0;  ///< empty, not UTF-8, ids out of range
  std::uint64_t lines = 0;    ///< not JSON, or without the wanted field
  /// Ends the command with exit code 1 when something was left out. Called last: all others are done by then.
  void throw_if_any() const;
};

/// Bad lines are counted in `skipped` and warned of, or throw when options.strict.
[[nodiscard]] io::JsonLinesOptions line_options(const InputOptions& options, Skipped& skipped);
/// The prompts in order.
[[nodiscard]] engine::PromptSource open_prompts(const InputOptions& options, Skipped& skipped);

/// How to generate. What is not given comes from the model's own files.
struct GenerationFlags {
  std::optional<std::string> task;
  model::GenerationOverrides wanted;
  std::string early_stopping;
};
void add_generation_options(CLI::App& command, GenerationFlags& flags);
/// Throws UsageError "FLAG has no effect WHY" for the first flag of add_generation_options that was given.
void refuse_generation_flags(const CLI::App& command, std::string_view why);
/// The model's defaults (for flags.task) with the flags over them. Keys of the model's files that FLAME does not have
/// are warned of. Throws as model::apply.
[[nodiscard]] model::GenerationDefaults generation_options(const GenerationFlags& flags, const engine::Engine& engine);

}  // namespace flame::cli
