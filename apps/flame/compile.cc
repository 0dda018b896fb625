#include "flame/eval/compile.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "flame/base/byte_size.h"
#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/base/thread_pool.h"
#include "flame/commands.h"
#include "flame/console.h"
#include "flame/experts/bundle.h"
#include "flame/options.h"
#include "flame/sparsity/prune.h"

namespace flame::cli {
namespace {

struct Options {
  std::string model;
  std::string output;
  std::string data;
  std::string type = "int8";
  eval::CompileOptions compile;
  std::size_t threads = 0;
  bool replace = false;
  bool json = false;
};

void compile(Options options) {
  ThreadPool::set_threads(options.threads);
  options.compile.data = options.data;
  options.compile.existing = options.replace ? io::Existing::kReplace : io::Existing::kRefuse;
  if (!kernels::parse_packed_type(options.type, options.compile.type)) {
    throw UsageError(fmt::format("--dtype {}: use f32, bf16, int8 or int4", options.type));
  }
  const eval::CompileReport report =
      eval::compile_bundle(options.model, options.output, options.compile, [](const std::string& line) { note(line); });
  if (options.json) {
    Json expected = Json::array();
    for (const eval::BufferResult& result : report.expected) expected.push_back(eval::to_json(result));
    print(to_text(Json{{"output", options.output},
                       {"pattern", options.compile.pattern},
                       {"method", options.compile.method},
                       {"dtype", options.type},
                       {"expert_bytes", report.pack.expert_bytes},
                       {"packed_bytes", report.pack.packed_bytes},
                       {"relative_error", report.relative_error},
                       {"examples", report.examples},
                       {"decoder_steps", report.decoder_steps},
                       {"predictor", report.predictor},
                       {"expected", expected}}) +
          "\n");
    return;
  }
  print(fmt::format("{}: {} ({} {}), {} in all\n", options.output,
                    experts::describe_experts(report.pack.experts, report.pack.expert_bytes, report.pack.packed_bytes),
                    options.compile.pattern, options.type, format_byte_size(report.pack.packed_bytes)));
  print(fmt::format("predictor that its profile is best for: {}\n", report.predictor));
  if (report.expected.empty()) {
    print("too few examples were traced to say what hit ratio to expect\n");
    return;
  }
  print(
      "expected hit ratio of the decoder (the last fifth of the examples, profiled on the others), where an expert "
      "loads\n"
      "in the time between two MoE layers; flame eval buffer replays other storages:\n");
  print(fmt::format("{:>12} {:>6} {:>9} {:>12} {:>9}\n", "memory", "slots", "lru", "predicted", "Belady"));
  for (std::size_t i = 0; i + 2 < report.expected.size(); i += 3) {
    const std::size_t slots = report.expected[i].setting.slots;
    print(fmt::format("{:>12} {:>6} {:>8.1f}% {:>11.1f}% {:>8.1f}%\n",
                      format_byte_size(slots * report.pack.expert_bytes), slots, 100.0 * report.expected[i].hit_ratio(),
                      100.0 * report.expected[i + 1].hit_ratio(), 100.0 * report.expected[i + 2].hit_ratio()));
  }
}

}  // namespace

void add_compile_command(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("compile", "The whole offline stage: prune, trace, profile, pack");
  command->footer(
      "Example:\n"
      "  flame compile models/switch-dialogsum-8 --data train.jsonl --field dialogue --task summarization -o bundle\n"
      "An interrupted run keeps its stages in OUTPUT.stages; the same command goes on from there.");
  command->add_option("MODEL", options->model, "Directory of a Hugging Face checkpoint")->required();
  command->add_option("--data", options->data, "JSON-lines file of texts like those to come")->required();
  command->add_option("--field", options->compile.field, "Key of the text")->required();
  command->add_option("--prefix", options->compile.prefix, "Put before every text (default: the task's)");
  command->add_option("--task", options->compile.task, "A task of the model's config, for example summarization");
  command->add_option("-o,--output", options->output, "Bundle to write")->required();
  command->add_option("--pattern", options->compile.pattern, "N:M, a list by stack and layer, or dense")
      ->capture_default_str();
  command
      ->add_option("--method", options->compile.method,
                   fmt::format("{}", fmt::join(sparsity::pattern_method_names(), ", ")))
      ->capture_default_str();
  command->add_option("--dtype", options->type, "Of the packed values: f32, bf16, int8 or int4")->capture_default_str();
  command
      ->add_option("--calibration-samples", options->compile.calibration_samples,
                   "Lines for methods that use example texts")
      ->check(above_zero())
      ->capture_default_str();
  command->add_option("--samples", options->compile.trace_samples, "Lines to trace and profile")
      ->check(above_zero())
      ->capture_default_str();
  command->add_option("--max-new-tokens", options->compile.max_new_tokens, "Decoded for each of them at most")
      ->check(above_zero())
      ->capture_default_str();
  command->add_flag("--replace", options->replace, "Replace the bundle when it is there");
  command->add_option("--threads", options->threads, "Threads (default: every processor)")->check(CLI::Range(1, 1024));
  command->add_flag("--json", options->json, "One JSON object on standard output");
  command->callback([options, command] {
    if (options->compile.pattern == "dense") refuse_flags(*command, {"--method"}, "with --pattern dense");
    if (!sparsity::needs_calibration(sparsity::parse_method(options->compile.method))) {
      refuse_flags(*command, {"--calibration-samples"},
                   fmt::format("with --method {}, which uses no example texts", options->compile.method));
    }
    compile(*options);
  });
}

}  // namespace flame::cli
