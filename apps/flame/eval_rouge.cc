#include <fmt/format.h>

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
#include "flame/eval/bootstrap.h"
#include "flame/eval/rouge.h"
#include "flame/eval/text_examples.h"
#include "flame/eval/text_predictions.h"
#include "flame/io/atomic_output.h"
#include "flame/io/file.h"
#include "flame/options.h"

namespace flame::cli {
namespace {

struct Options {
  std::string model;
  std::string predictions;
  std::string prediction_field = "text";
  std::string input;
  std::string field;
  std::vector<std::string> references;
  std::optional<std::size_t> limit;
  std::optional<std::string> prefix;
  GenerationFlags generation;
  std::size_t batch = 8;
  std::size_t threads = 0;
  std::string output;
  bool resume = false;
  bool no_stemming = false;
  bool mean = false;
  eval::Bootstrap bootstrap;
  bool json = false;
};

void check(const Options& options) {
  if (options.model.empty() == options.predictions.empty()) {
    throw UsageError("give a MODEL that is to generate the texts, or --predictions with texts that are there");
  }
  if (options.model.empty()) {
    if (!options.output.empty() || options.resume || !options.field.empty()) {
      throw UsageError("--field, -o and --resume have no effect with --predictions");
    }
    return;
  }
  if (options.field.empty()) throw UsageError("--field: name the key of --input that holds the text to summarise");
  if (options.output.empty()) throw UsageError("-o FILE: name the file that keeps the generated texts");
  io::require_file_target(options.output);
  check_output_files({options.output}, {options.model, options.input});
  if (io::FileSystem::real().exists(options.output) && !options.resume) {
    throw UsageError(fmt::format("{}: exists already; go on from it with --resume, or remove it", options.output));
  }
}

eval::TextPredictions generate(const Options& options, const std::vector<eval::TextExample>& examples) {
  engine::EngineOptions engine_options;
  engine_options.threads = options.threads;
  engine::Engine engine = engine::Engine::open(options.model, engine_options);
  for (const std::string& warning : engine.warnings()) warn(warning);
  const model::GenerationDefaults defaults = generation_options(options.generation, engine);
  const engine::TextGenerationOptions text_options{
      .generation = defaults.options, .prefix = options.prefix.value_or(defaults.prefix), .batch_size = options.batch};
  return eval::generate_predictions(engine, examples, text_options, options.output,
                                    [](const std::string& message) { warn(message); });
}

void run(const Options& options) {
  check(options);
  const std::vector<eval::TextExample> examples =
      eval::read_examples(options.input, options.field, options.references, options.limit);
  const eval::TextPredictions predictions = options.predictions.empty()
                                                ? generate(options, examples)
                                                : eval::read_predictions(options.predictions, options.prediction_field);
  if (!options.predictions.empty()) {
    const std::size_t surplus = predictions.size() - std::min(predictions.size(), examples.size());
    if (surplus > 0 && !options.limit) {
      warn(fmt::format("{}: {} of its {} texts belong to no line of {} and are not scored", options.predictions,
                       surplus, predictions.size(), options.input));
    }
  }
  const eval::ManyReferences many = options.mean ? eval::ManyReferences::kMean : eval::ManyReferences::kBest;
  const std::vector<eval::RougeScores> scores = eval::score(examples, predictions, !options.no_stemming, many);
  const eval::RougeSummary summary = eval::summarize(scores, options.bootstrap);
  if (options.json) {
    Json json = {{"examples", examples.size()},
                 {"stemmed", !options.no_stemming},
                 {"references", options.mean ? "mean" : "best"},
                 {"rouge", eval::rouge_to_json(summary, options.bootstrap)}};
    if (options.bootstrap.samples > 0) json["confidence"] = options.bootstrap.confidence;
    print(flame::to_text(json) + "\n");
  } else {
    print(fmt::format("{} examples\n{}", examples.size(), eval::rouge_to_text(summary, options.bootstrap)));
  }
}

}  // namespace

void add_eval_rouge_command(CLI::App& eval) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = eval.add_subcommand("rouge", "ROUGE-1, -2, -L and -Lsum of predictions, or of a model's texts");
  command->footer(
      "Examples:\n"
      "  flame eval rouge models/switch-dialogsum-8 --task summarization --input test.jsonl --field dialogue \\\n"
      "      --reference summaries -o predictions.jsonl --resume\n"
      "  flame eval rouge --predictions predictions.jsonl --input test.jsonl --reference summaries");
  command->add_option("MODEL", options->model, "Directory of a Hugging Face checkpoint that generates the texts");
  command->add_option("--predictions", options->predictions,
                      "JSON lines with texts that are there, as `flame generate -o` writes them");
  command->add_option("--prediction-field", options->prediction_field, "Key of the text in --predictions")
      ->capture_default_str();
  command->add_option("--input", options->input, "JSON-lines file of the examples")->required();
  command->add_option("--field", options->field, "Key of the input text, for a MODEL");
  command
      ->add_option("--reference", options->references,
                   "Key of a reference, a text or an array of texts (may be repeated)")
      ->allow_extra_args(false)
      ->required();
  command->add_option("--limit", options->limit, "Only the first so many examples")->check(above_zero());
  command->add_option("--prefix", options->prefix, "Put before every input text (default: the task's)");
  command->add_option("-o,--output", options->output, "Keep the generated texts in this file");
  command->add_flag("--resume", options->resume, "Go on where the run that wrote -o's file stopped");
  command->add_option("--batch", options->batch, "Texts generated together; never changes a result")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "Threads that compute (default: every processor)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--no-stemming", options->no_stemming, "Compare words as they are, not their Porter stems");
  command->add_flag("--mean-of-references", options->mean, "Average over references instead of taking the best");
  command->add_option("--samples", options->bootstrap.samples, "Bootstrap samples of the intervals; 0: none")
      ->check(CLI::Range(std::size_t{0}, eval::kMostBootstrapSamples))
      ->capture_default_str();
  command->add_option("--confidence", options->bootstrap.confidence, "Share of the sampled means inside an interval")
      ->check(CLI::Range(0.5, 1.0))
      ->capture_default_str();
  command->add_option("--bootstrap-seed", options->bootstrap.seed, "Seed of the bootstrap")->capture_default_str();
  command->add_flag("--json", options->json, "One JSON object on standard output");
  add_generation_options(*command, options->generation);
  command->callback([options, command] {
    if (options->model.empty()) {
      constexpr const char* kWhy = "with --predictions: no text is generated";
      refuse_flags(*command, {"--prefix", "--batch", "--threads"}, kWhy);
      refuse_generation_flags(*command, kWhy);
    } else {
      refuse_flags(*command, {"--prediction-field"}, "without --predictions");
    }
    if (options->bootstrap.samples == 0) {
      refuse_flags(*command, {"--confidence", "--bootstrap-seed"}, "with --samples 0: there are no intervals");
    }
    run(*options);
  });
}

}  // namespace flame::cli
