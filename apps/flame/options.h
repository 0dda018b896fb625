#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "flame/engine/engine.h"
#include "flame/engine/text_generation.h"
#include "flame/experts/buffer_options.h"

namespace CLI {
class App;
}

// Groups of options that several subcommands share: each is declared, checked and explained once.
namespace flame::cli {

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
  int context = 3;
  std::string replacement = "next-use";
  std::string storage = "auto";
  std::string storage_bandwidth;
  std::string storage_latency;
  bool mapped = false;
  bool no_prefetch = false;
  bool no_verify = false;
  std::string timeline;
};
void add_buffer_options(CLI::App& command, BufferFlags& flags);
/// Throws UsageError for values that cannot be read.
[[nodiscard]] experts::BufferOptions buffer_options(const BufferFlags& flags);
/// Throws UsageError naming the flags given on `command`, when `model` is a checkpoint, whose experts are all in memory.
void check_buffer_options(const CLI::App& command, const std::string& model);

/// Where the prompts come from: --text, --input with --field, --input-ids, or standard input.
struct InputOptions {
  std::vector<std::string> texts;
  std::string file;
  std::string field;
  std::string ids_file;
  std::optional<std::string> prefix;
  std::optional<std::size_t> limit;
  bool strict = false;
};
void add_input_options(CLI::App& command, InputOptions& options);
/// Throws UsageError for options that exclude each other or have no effect together.
void check_input_options(const InputOptions& options);
/// The prompts in order, without those whose index is in `finished`. Bad lines are reported on stderr and skipped, or
/// throw when options.strict.
[[nodiscard]] engine::PromptSource open_prompts(const InputOptions& options, std::set<std::uint64_t> finished = {});
/// The first prompts of the input as one value, for commands that need them all.
[[nodiscard]] std::vector<engine::Prompt> read_prompts(const InputOptions& options);

/// How to generate. What is not given comes from the model's own files.
struct GenerationFlags {
  std::optional<std::string> task;
  std::optional<std::size_t> max_new_tokens, min_new_tokens, max_length, min_length;
  std::optional<std::size_t> beams, returned;
  std::optional<float> length_penalty, repetition_penalty, temperature, top_p;
  std::optional<std::string> early_stopping;
  std::optional<std::size_t> no_repeat_ngram, top_k;
  std::optional<std::uint64_t> seed;
  bool sample = false;
};
void add_generation_options(CLI::App& command, GenerationFlags& flags);
/// The model's defaults (for flags.task) with the flags over them. Options that have no effect together, and keys of
/// the model's files that FLAME does not have, are warned of.
[[nodiscard]] model::GenerationDefaults generation_options(const GenerationFlags& flags, const engine::Engine& engine);

}  // namespace flame::cli
