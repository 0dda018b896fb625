#include "flame/sparsity/prune.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "flame/base/byte_size.h"
#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/base/thread_pool.h"
#include "flame/commands.h"
#include "flame/console.h"
#include "flame/eval/calibration_data.h"
#include "flame/experts/bundle.h"
#include "flame/model/config.h"
#include "flame/model/generation_config.h"
#include "flame/model/tensor_names.h"
#include "flame/options.h"
#include "flame/text/tokenizer.h"

namespace flame::cli {
namespace {

struct Options {
  std::string model;
  std::string output;
  std::string method = "magnitude";
  std::string pattern;
  std::optional<double> sparsity;
  std::string block = sparsity::BlockShape().to_string();
  bool pad = false;
  std::vector<std::string> include;
  std::vector<std::string> exclude;
  std::string calibration;
  std::string field;
  std::string target;
  std::optional<std::string> prefix;
  std::optional<std::string> task;
  std::size_t samples = 128;
  std::size_t minimum_tokens = sparsity::PruneOptions().minimum_tokens;
  double damping = sparsity::PruneOptions().damping;
  std::size_t threads = 0;
  bool replace = false;
  bool json = false;
};

/// The longest input of T5 and of what is fine-tuned from it.
constexpr std::size_t kLongestInput = 512;

void add_calibration(const Options& options, sparsity::PruneOptions& prune) {
  const bool needed = sparsity::needs_calibration(prune.method);
  if (options.calibration.empty()) {
    if (needed) throw UsageError(fmt::format("--method {} needs --calibration FILE --field NAME", options.method));
    return;
  }
  if (options.field.empty()) throw UsageError("--calibration needs --field: the key that holds the input text");
  eval::CalibrationSource source{.file = options.calibration,
                                 .field = options.field,
                                 .target_field = options.target,
                                 .prefix = options.prefix.value_or(""),
                                 .samples = options.samples};
  if (!options.prefix) {
    const model::SwitchConfig config = model::load_config(options.model);
    source.prefix = model::load_generation_defaults(options.model, config, options.task).prefix;
  }
  prune.calibration = eval::read_calibration(source, text::Tokenizer::open(options.model), kLongestInput);
  warn_of_few_samples(options.calibration, prune.calibration.size(), options.samples);
  prune.calibration_source = fmt::format("{}: {}{}", source.file.filename().string(), source.field,
                                         source.target_field.empty() ? "" : fmt::format(" -> {}", source.target_field));
}

std::string to_text(const sparsity::PruneReport& report, const Options& options) {
  constexpr std::uint64_t kMillion = 1'000'000;
  const std::string weights = report.weights < kMillion
                                  ? fmt::format("{}", report.weights)
                                  : fmt::format("{:.1f} million", static_cast<double>(report.weights) / 1e6);
  std::string text = fmt::format(
      "{}: {} tensors pruned by {}, {:.1f} % of their {} weights are zero\n", options.output, report.tensors.size(),
      options.method, 100.0 * static_cast<double>(report.zeros) / static_cast<double>(report.weights), weights);
  text += fmt::format("weights changed by {:.1f} % of their norm\n", 100.0 * report.relative_error());
  const auto [best, bytes] = sparsity::smallest(report.index_storage);
  text += fmt::format("index storage: {} as \"{}\"", format_byte_size(bytes), best);
  for (const auto& [encoding, size] : report.index_storage) {
    if (encoding != best) text += fmt::format(", {} as \"{}\"", format_byte_size(size), encoding);
  }
  text += fmt::format("\n{} in {:.2f} s, of which choosing weights {:.2f} s ({:.2f} GB/s)\n",
                      format_byte_size(report.bytes), report.seconds, report.selection_seconds,
                      static_cast<double>(report.bytes) / 1e9 / report.selection_seconds);
  return text;
}

/// One warning a layer.
void warn_of_fallbacks(const sparsity::PruneReport& report, const Options& options) {
  for (std::size_t i = 0; i < report.fallbacks.size();) {
    const model::MoeLayer layer = report.fallbacks[i].layer;
    std::vector<std::string> experts;
    for (; i < report.fallbacks.size() && report.fallbacks[i].layer == layer; ++i) {
      experts.push_back(fmt::format("{} ({})", report.fallbacks[i].expert, report.fallbacks[i].tokens));
    }
    warn(
        fmt::format("{} MoE layer {}: fewer than {} calibration tokens reached these experts, which were pruned by the "
                    "layer's statistics: {}",
                    model::name_of(layer.stack), layer.index, std::max<std::size_t>(options.minimum_tokens, 1),
                    fmt::join(experts, ", ")));
  }
}

void check(const CLI::App& command, const Options& options) {
  const sparsity::Method method = sparsity::parse_method(options.method);
  if (!sparsity::needs_calibration(method)) {
    refuse_flags(command, {"--calibration", "--field", "--target", "--prefix", "--task", "--samples", "--min-tokens"},
                 fmt::format("with --method {}, which uses no example texts", options.method));
  }
  if (!sparsity::is_pattern_method(method)) {
    refuse_flags(command, {"--pad"}, fmt::format("with --method {}, which has no groups", options.method));
  }
  if (method != sparsity::Method::kSparseGpt) refuse_flags(command, {"--damping"}, "without --method sparsegpt");
  if (method != sparsity::Method::kColumnBlock) refuse_flags(command, {"--block"}, "without --method column-block");
  if (!options.prefix) return;
  refuse_flags(command, {"--task"}, "beside --prefix: only the task's prefix is used here");
}

void prune(const Options& options) {
  ThreadPool::set_threads(options.threads);
  if (experts::Bundle::is_bundle(options.model)) {
    throw UsageError(fmt::format("{}: is a bundle, whose experts are packed; prune takes a checkpoint", options.model));
  }
  sparsity::PruneOptions prune;
  prune.method = sparsity::parse_method(options.method);
  if (!options.pattern.empty()) prune.patterns = sparsity::LayerPatterns::parse(options.pattern);
  prune.sparsity = options.sparsity;
  prune.block = sparsity::parse_block_shape(options.block);
  prune.pad = options.pad;
  prune.include = options.include;
  prune.exclude = options.exclude;
  prune.minimum_tokens = options.minimum_tokens;
  prune.damping = options.damping;
  prune.existing = options.replace ? io::Existing::kReplace : io::Existing::kRefuse;
  add_calibration(options, prune);

  const sparsity::PruneReport report = sparsity::prune_checkpoint(options.model, options.output, prune);
  warn_of_abandoned(options.output);
  for (const std::string& name : report.left_out) {
    warn(fmt::format("{}/{} is not in the output (a directory, or weights that would not be pruned)", options.model,
                     name));
  }
  warn_of_fallbacks(report, options);
  if (options.pad && report.padded_tensors == 0) warn("--pad had no effect: M divides the rows of all pruned tensors");
  if (options.json) {
    print(flame::to_text(sparsity::to_json(report, prune)) + "\n");
  } else if (report.tensors.empty()) {
    print(fmt::format("{}: a copy; the options leave nothing to prune\n", options.output));
  } else {
    print(to_text(report, options));
  }
}

}  // namespace

void add_prune_command(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("prune", "Expert weights to N:M: a checkpoint in, a checkpoint out");
  command->footer(
      "Examples:\n"
      "  flame prune models/switch-dialogsum-8 -o pruned --pattern 2:4\n"
      "  flame prune models/switch-dialogsum-8 -o pruned --pattern encoder=4:8,decoder=1:4 --method sparsegpt \\\n"
      "      --calibration train.jsonl --field dialogue --target summary --task summarization --samples 128\n"
      "  flame prune models/switch-dialogsum-8 -o pruned --method unstructured --sparsity 0.5");
  command->add_option("MODEL", options->model, "Directory of a Hugging Face checkpoint")->required();
  command->add_option("-o,--output", options->output, "Directory to write")->required();
  command->add_option("--pattern", options->pattern,
                      "N:M, or a list such as encoder=4:8,decoder=1:4,decoder.3=2:4 (MoE layers counted from 0)");
  command->add_option("--method", options->method, fmt::format("{}", fmt::join(sparsity::method_names(), ", ")))
      ->capture_default_str();
  command->add_option("--sparsity", options->sparsity, "unstructured, column-block: the share of weights to remove");
  command->add_option("--block", options->block, "column-block: rows x columns of a block")->capture_default_str();
  command->add_flag("--pad", options->pad, "Prune rows that M does not divide as if zeros followed them");
  command
      ->add_option("--include", options->include,
                   "Prune these tensors too (name pattern with * and ?; may be repeated)")
      ->allow_extra_args(false);
  command->add_option("--exclude", options->exclude, "Leave these as they are (name pattern; may be repeated)")
      ->allow_extra_args(false);
  command->add_flag("--replace", options->replace, "Replace the output directory when it is there");
  command->add_option("--threads", options->threads, "Threads that compute (default: every processor)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--json", options->json, "One JSON object on standard output");

  const std::string group = "Calibration (wanda, sparsegpt)";
  command->add_option("--calibration", options->calibration, "JSON-lines file of example texts")->group(group);
  command->add_option("--field", options->field, "Key of the input text")->group(group);
  command->add_option("--target", options->target, "Key of the output text (default: what the model says itself)")
      ->group(group);
  command->add_option("--prefix", options->prefix, "Put before every input text (default: the task's)")->group(group);
  command->add_option("--task", options->task, "A task of the model's config, for example summarization")->group(group);
  command->add_option("--samples", options->samples, "Lines of the file to use")
      ->check(above_zero())
      ->capture_default_str()
      ->group(group);
  command
      ->add_option("--min-tokens", options->minimum_tokens,
                   "An expert with fewer calibration tokens is pruned by its layer's statistics")
      ->capture_default_str()
      ->group(group);
  command->add_option("--damping", options->damping, "sparsegpt: share of the mean diagonal added to the Hessian")
      ->capture_default_str()
      ->group(group);
  command->callback([options, command] {
    check(*command, *options);
    prune(*options);
  });
}

}  // namespace flame::cli
