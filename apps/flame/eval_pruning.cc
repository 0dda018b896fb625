#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/commands.h"
#include "flame/console.h"
#include "flame/engine/engine.h"
#include "flame/eval/calibration_data.h"
#include "flame/eval/pruning.h"
#include "flame/model/config.h"
#include "flame/model/generation_config.h"
#include "flame/options.h"
#include "flame/sparsity/prune.h"
#include "flame/text/tokenizer.h"

namespace flame::cli {
namespace {

struct Options {
  std::string model;
  std::string directory;
  std::vector<std::string> methods = {"magnitude", "unstructured", "column-block"};
  std::vector<std::string> patterns;
  std::string block = sparsity::BlockShape().to_string();
  bool pad = false;
  std::string input;
  std::string field;
  std::vector<std::string> references;
  std::optional<std::size_t> limit;
  std::optional<std::string> prefix;
  std::string calibration;
  std::string target;
  std::size_t samples = 128;
  std::size_t minimum_tokens = sparsity::PruneOptions().minimum_tokens;
  double damping = sparsity::PruneOptions().damping;
  std::size_t batch = 8;
  std::size_t threads = 0;
  GenerationFlags generation;
  bool mean = false;
  eval::Bootstrap bootstrap;
  bool json = false;
};

std::vector<sparsity::Method> methods_of(const Options& options) {
  std::vector<sparsity::Method> methods;
  for (const std::string& name : options.methods) {
    methods.push_back(sparsity::parse_method(name));
    if (sparsity::needs_calibration(methods.back()) && options.calibration.empty()) {
      throw UsageError(fmt::format("method {} needs --calibration FILE", name));
    }
  }
  return methods;
}

std::vector<sparsity::Pattern> patterns_of(const Options& options) {
  if (options.patterns.empty()) return eval::figure_7_patterns();
  std::vector<sparsity::Pattern> patterns;
  for (const std::string& pattern : options.patterns) patterns.push_back(sparsity::parse_pattern(pattern));
  return patterns;
}

void run(const Options& options) {
  eval::check_sweep_directories(options.model, options.directory);
  eval::PruningSweep sweep;
  sweep.model = options.model;
  sweep.directory = options.directory;
  sweep.cells = eval::pruning_cells(methods_of(options), patterns_of(options));
  sweep.examples = eval::read_examples(options.input, options.field, options.references, options.limit);
  sweep.examples_source = std::filesystem::path(options.input).filename().string();
  sweep.many = options.mean ? eval::ManyReferences::kMean : eval::ManyReferences::kBest;
  sweep.bootstrap = options.bootstrap;
  sweep.engine.threads = options.threads;
  sweep.pruning.block = sparsity::parse_block_shape(options.block);
  sweep.pruning.pad = options.pad;
  sweep.pruning.minimum_tokens = options.minimum_tokens;
  sweep.pruning.damping = options.damping;
  {
    const engine::Engine engine = engine::Engine::open(options.model, sweep.engine);
    for (const std::string& warning : engine.warnings()) warn(warning);
    const model::GenerationDefaults defaults = generation_options(options.generation, engine);
    sweep.generation = {.generation = defaults.options,
                        .prefix = options.prefix.value_or(defaults.prefix),
                        .batch_size = options.batch};
    if (!options.calibration.empty()) {
      const eval::CalibrationSource source{.file = options.calibration,
                                           .field = options.field,
                                           .target_field = options.target,
                                           .prefix = sweep.generation.prefix,
                                           .samples = options.samples};
      sweep.pruning.calibration = eval::read_calibration(source, engine.require_tokenizer(), engine.longest_input());
      warn_of_few_samples(options.calibration, sweep.pruning.calibration.size(), options.samples);
      sweep.pruning.calibration_source = source.file.filename().string();
    }
  }
  const std::vector<eval::PruningResult> results =
      eval::run_pruning_sweep(sweep, [](const std::string& message) { note(message); });
  if (options.json) {
    Json json;
    json["examples"] = sweep.examples.size();
    json["results"] = Json::array();
    for (const eval::PruningResult& result : results) json["results"].push_back(eval::to_json(result, sweep.bootstrap));
    json["comparisons"] = eval::comparisons_to_json(results, sweep.bootstrap);
    print(flame::to_text(json) + "\n");
  } else {
    print(eval::to_text(results, sweep.bootstrap));
  }
}

}  // namespace

void add_eval_pruning_command(CLI::App& eval) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = eval.add_subcommand("pruning", "Methods x patterns: ROUGE, perplexity, error, index bytes");
  command->footer(
      "Example:\n"
      "  flame eval pruning models/switch-dialogsum-8 -o sweep --methods magnitude sparsegpt unstructured column-block "
      "\\\n"
      "      --patterns 2:4 1:4 --input test.jsonl --field dialogue --reference summaries --task summarization "
      "\\\n"
      "      --calibration train.jsonl --target summary --limit 100\n"
      "Run again with the same -o, it goes on where it stopped: a finished cell is not run again.");
  command->add_option("MODEL", options->model, "Directory of a Hugging Face checkpoint")->required();
  command->add_option("-o,--output", options->directory, "Directory that keeps what was measured")->required();
  command->add_option("--methods", options->methods, fmt::format("{}", fmt::join(sparsity::method_names(), ", ")))
      ->capture_default_str();
  command->add_option("--patterns", options->patterns,
                      "N:M; baselines take their sparsities (default: 25, 50, 75, 87.5 % for M = 4, 8, 16)");
  command->add_option("--block", options->block, "column-block: rows x columns of a block")->capture_default_str();
  command->add_flag("--pad", options->pad, "Prune rows that M does not divide as if zeros followed them");
  command->add_option("--input", options->input, "JSON-lines file of the examples")->required();
  command->add_option("--field", options->field, "Key of the input text, in --input and --calibration")->required();
  command->add_option("--reference", options->references, "Key of a reference, a text or an array (may be repeated)")
      ->allow_extra_args(false)
      ->required();
  command->add_option("--limit", options->limit, "Only the first so many examples")->check(above_zero());
  command->add_option("--prefix", options->prefix, "Put before every input text (default: the task's)");
  command->add_option("--batch", options->batch, "Texts generated together; never changes a result")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "Threads that compute (default: every processor)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--mean-of-references", options->mean, "Average over references instead of taking the best");
  command->add_option("--bootstrap-samples", options->bootstrap.samples, "Bootstrap samples of the intervals; 0: none")
      ->check(CLI::Range(std::size_t{0}, eval::kMostBootstrapSamples))
      ->capture_default_str();
  command->add_flag("--json", options->json, "One JSON object on standard output");
  const std::string group = "Calibration (wanda, sparsegpt)";
  command->add_option("--calibration", options->calibration, "JSON-lines file of example texts")->group(group);
  command->add_option("--target", options->target, "Key of the output text (default: what the model says itself)")
      ->group(group);
  command->add_option("--samples", options->samples, "Lines of the file to use")
      ->check(above_zero())
      ->capture_default_str()
      ->group(group);
  command->add_option("--min-tokens", options->minimum_tokens, "Fewer calibration tokens: the layer's statistics")
      ->capture_default_str()
      ->group(group);
  command->add_option("--damping", options->damping, "sparsegpt: share of the mean diagonal added to the Hessian")
      ->capture_default_str()
      ->group(group);
  add_generation_options(*command, options->generation);
  command->callback([options, command] {
    const std::vector<sparsity::Method> methods = methods_of(*options);
    if (std::none_of(methods.begin(), methods.end(), sparsity::needs_calibration)) {
      refuse_flags(*command, {"--calibration", "--target", "--samples", "--min-tokens"},
                   "without a method that uses example texts (wanda, sparsegpt)");
    }
    const auto has = [&](sparsity::Method method) {
      return std::find(methods.begin(), methods.end(), method) != methods.end();
    };
    if (!has(sparsity::Method::kSparseGpt)) refuse_flags(*command, {"--damping"}, "without the method sparsegpt");
    if (std::none_of(methods.begin(), methods.end(), sparsity::is_pattern_method)) {
      refuse_flags(*command, {"--pad"}, "without a method that has groups");
    }
    if (!has(sparsity::Method::kColumnBlock)) refuse_flags(*command, {"--block"}, "without the method column-block");
    run(*options);
  });
}

}  // namespace flame::cli
