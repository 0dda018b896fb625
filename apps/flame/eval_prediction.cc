#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "flame/base/byte_size.h"
#include "flame/base/error.h"
#include "flame/base/json.h"
#include "flame/base/progress.h"
#include "flame/commands.h"
#include "flame/console.h"
#include "flame/eval/prediction.h"
#include "flame/options.h"
#include "flame/routing/predictor.h"
#include "flame/routing/profile.h"
#include "flame/routing/trace.h"

namespace flame::cli {
namespace {

struct Options {
  std::string trace;
  std::string profile;
  std::vector<std::string> budgets = {"2KiB", "16KiB", "128KiB"};
  eval::PredictionRequest request;
  bool layers = false;
  bool json = false;
};

void check(const CLI::App& command, const Options& options) {
  const std::vector<std::string>& named = options.request.predictors;
  if (!named.empty() && std::none_of(named.begin(), named.end(), routing::has_order)) {
    refuse_flags(command, {"--order"}, "without cepr, incremental, backoff or online");
  }
  if (options.request.bootstrap.samples == 0) {
    refuse_flags(command, {"--seed"}, "with --samples 0: there are no intervals");
  }
  if (!options.json) return;
  refuse_flags(command, {"--layers"}, "with --json, which always tells the accuracy of every layer");
  if (!named.empty() && std::none_of(named.begin(), named.end(), eval::takes_budget)) {
    refuse_flags(command, {"--budget"}, "with --json and without the predictor token: no table is built to a size");
  }
}

void run(Options options) {
  const routing::Profile profile = routing::Profile::read(options.profile);
  const routing::Trace trace = routing::read_trace(options.trace, {.hidden = true, .approach = true});
  for (const std::string& budget : options.budgets) {
    options.request.budgets.push_back(parse_byte_size(budget, "--budget"));
    if (options.request.budgets.back() == 0) {
      throw UsageError(fmt::format("--budget {}: expected a size above 0", budget));
    }
  }
  Progress progress("predicting", 1000);
  const auto begun = std::chrono::steady_clock::now();
  const eval::PredictionReport report = eval::evaluate_prediction(
      trace, profile, options.request, [&](double done) { progress.set(static_cast<std::uint64_t>(done * 1000.0)); });
  progress.finish();
  if (options.json) {
    Json json = eval::to_json(report);
    json["trace"] = options.trace;
    json["profile"] = options.profile;
    json["model"] = trace.info.model;
    json["checksum"] = trace.info.checksum;
    json["data"] = trace.info.data;
    json["decoding"] = trace.info.decoding;
    json["seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    print(to_text(json) + "\n");
    return;
  }
  if (report.overlapping > 0) {
    note(fmt::format("{} examples that the profile counted are left out", report.overlapping));
  }
  print(eval::prediction_table(report, options.request.depths, options.layers));
  print(eval::storage_table(report, options.request.budgets));
}

}  // namespace

void add_eval_prediction_command(CLI::App& eval) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = eval.add_subcommand("prediction", "How often the predictors name the expert that comes");
  command->footer(
      "Examples:\n"
      "  flame eval prediction test.trace --profile train.profile\n"
      "  flame eval prediction test.trace --profile train.profile --predictor cepr,incremental --order 1,2,3 --json");
  command->add_option("TRACE", options->trace, "A trace of examples that the profile has not counted")->required();
  command->add_option("--profile", options->profile, "What predictors are made from")->required();
  command
      ->add_option("--predictor", options->request.predictors,
                   "Names, with commas between (default: all that profile and trace have data for)")
      ->delimiter(',');
  command
      ->add_option("--order,--context", options->request.orders,
                   "m, with commas between (default: all counted), of cepr, incremental, backoff and online")
      ->delimiter(',');
  command->add_option("--k", options->request.ranks, "Experts named, with commas between (default: 1 to all)")
      ->delimiter(',');
  command
      ->add_option("--depth", options->request.depths,
                   fmt::format("Layers ahead, 1 to {}, with commas between", routing::kFittedDepth))
      ->delimiter(',')
      ->check(CLI::Range(1U, routing::kFittedDepth))
      ->capture_default_str();
  command->add_option("--budget", options->budgets, "Table sizes to compare predictors at")
      ->delimiter(',')
      ->capture_default_str();
  command->add_flag("--skip-overlapping", options->request.skip_overlapping,
                    "Leave out examples that the profile counted, instead of refusing the trace");
  command->add_option("--samples", options->request.bootstrap.samples, "Bootstrap samples of the intervals; 0: none")
      ->check(CLI::Range(0, 100'000))
      ->capture_default_str();
  command->add_option("--seed", options->request.bootstrap.seed, "Seed of the bootstrap")->capture_default_str();
  command->add_flag("--layers", options->layers, "Also the accuracy of every layer");
  command->add_flag("--json", options->json, "Everything, with raw counts, as a JSON object");
  command->callback([options, command] {
    check(*command, *options);
    run(*options);
  });
}

}  // namespace flame::cli
